"""Downloads raw files: resumes where a transfer stopped, verifies size and digest, unpacks zips without path traversal.

A file is written as ``<name>.part`` and renamed when it is complete and verified, so a file that has its name is good.
"""

from __future__ import annotations

import hashlib
import http.client
import shutil
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from gensr_model.config.data import RemoteFile
from gensr_model.errors import DataError

ATTEMPTS = 6
FIRST_PAUSE_S = 1.0  # doubles with every attempt that brought nothing
TIMEOUT_S = 60.0
CHUNK = 2**20
_RETRIED = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError)


class Truncated(Exception):
    """The connection ended before the announced number of bytes."""


def fetch(
    files: Sequence[RemoteFile],
    folder: Path,
    *,
    pause_s: float = FIRST_PAUSE_S,
    progress: Callable[[str, int, int | None], None] | None = None,
) -> Path:
    """Bring the ``files`` into ``folder``; returns it.

    Zip files are unpacked beside themselves and then deleted. Files that are already there stay.
    ``progress(name, bytes so far, bytes in all or None)`` is called about once per MiB. Raises DataError if a file
    cannot be had, has the wrong size or digest, or is a zip with members outside its folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for remote in files:
        name = _file_name(remote.url)
        target = folder / name
        unpacked = folder / PurePosixPath(name).stem
        packed = name.endswith(".zip")
        if packed and unpacked.is_dir():
            continue
        if not target.exists():
            _download(remote, target, pause_s, progress)
        if packed:
            _unpack(target, unpacked)
            target.unlink()
    return folder


def _file_name(url: str) -> str:
    parts = urlsplit(url)
    name = PurePosixPath(unquote(parts.path)).name
    if parts.scheme not in ("http", "https") or name in ("", ".", "..") or "\\" in name:
        raise DataError(f"{url}: not the http(s) address of a file.")
    return name


def _download(
    remote: RemoteFile, target: Path, pause_s: float, progress: Callable[[str, int, int | None], None] | None
) -> None:
    part = target.with_name(target.name + ".part")
    fruitless, fresh, complete = 0, False, False
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            if not complete:
                _transfer(remote, part, progress)
        except urllib.error.HTTPError as error:
            if error.code == 416 and before:
                # Nothing is left to send: either we have it all, or the part belongs to another file.
                complete = error.headers.get("Content-Range") == f"bytes */{before}"
                if not complete:
                    part.unlink()
            elif error.code < 500 and error.code not in (408, 429):
                raise DataError(f"{remote.url}: the server answers {error.code} {error.reason}.") from error
            problem: Exception = error
        except (*_RETRIED, Truncated) as error:
            problem = error
        else:
            wrong = _mismatch(remote, part)
            _tag(part).unlink(missing_ok=True)
            if not wrong:
                part.replace(target)
                return
            part.unlink()
            complete = False
            if fresh or not before:
                raise DataError(f"{remote.url}: {wrong}. The download was deleted; is the address still right?")
            fresh = True  # a resumed file may be stitched from two versions: once more, from the start
            continue
        grown = (part.stat().st_size if part.exists() else 0) > before
        fruitless = 0 if grown else fruitless + 1
        if fruitless >= ATTEMPTS:
            resumes = f" {part} keeps what came so far; the next run resumes." if part.exists() else ""
            raise DataError(
                f"{remote.url}: gave up after {ATTEMPTS} attempts without progress ({problem}).{resumes} Check the "
                "network, or download the file yourself and use a folder source."
            ) from problem
        time.sleep(pause_s * 2**fruitless)


def _transfer(remote: RemoteFile, part: Path, progress: Callable[[str, int, int | None], None] | None) -> None:
    """One request; appends to ``part`` if the server honours the range, and starts over if it does not."""
    have = part.stat().st_size if part.exists() else 0
    tag = _tag(part)
    request = urllib.request.Request(remote.url, headers={"User-Agent": "gensr", "Accept-Encoding": "identity"})
    if have:
        request.add_header("Range", f"bytes={have}-")
        if tag.exists():  # a file that changed on the server comes whole, not stitched to the old part
            request.add_header("If-Range", tag.read_text(encoding="utf-8"))
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
        resumed = response.status == 206 and _range_start(response.headers.get("Content-Range")) == have
        if response.status == 206 and not resumed:
            raise http.client.HTTPException(f"unasked range {response.headers.get('Content-Range')}")
        have = have if resumed else 0
        announced = response.headers.get("Content-Length")
        total = have + int(announced) if announced else remote.bytes
        if total is not None and shutil.disk_usage(part.parent).free < total - have:
            raise DataError(f"{part.parent}: no room for the {total - have:,} bytes of {remote.url}.")
        version = response.headers.get("ETag") or ""
        version = response.headers.get("Last-Modified") if version[:2] in ("", "W/") else version
        if version and not resumed:
            tag.write_text(version, encoding="utf-8")
        with part.open("ab" if resumed else "wb") as out:
            while chunk := response.read(CHUNK):
                out.write(chunk)
                have += len(chunk)
                if progress:
                    progress(part.name.removesuffix(".part"), have, total)
    if total is not None and announced and have < total:
        raise Truncated(f"the connection ended after {have:,} of {total:,} bytes")


def _tag(part: Path) -> Path:
    """Where the server's version of a partial file is noted."""
    return part.with_name(part.name + ".version")


def _range_start(header: str | None) -> int:
    """First byte of ``bytes 100-199/200``, or -1."""
    try:
        return int((header or "").removeprefix("bytes ").split("-")[0])
    except ValueError:
        return -1


def _mismatch(remote: RemoteFile, part: Path) -> str:
    size = part.stat().st_size
    if remote.bytes is not None and size != remote.bytes:
        return f"the file has {size:,} bytes instead of {remote.bytes:,}"
    for kind, expected in (("sha256", remote.sha256), ("md5", remote.md5)):
        if expected:
            with part.open("rb") as file:
                actual = hashlib.file_digest(file, kind).hexdigest()
            if actual != expected.lower():
                return f"the file's {kind} is {actual} instead of {expected.lower()}"
    return ""


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack aside, then rename; DataError for a damaged zip or a member that would land outside ``folder``."""
    aside = folder.with_name(folder.name + ".part")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    try:
        with zipfile.ZipFile(archive) as file:
            size = sum(member.file_size for member in file.infolist())
            if shutil.disk_usage(aside).free < size:
                raise DataError(f"{archive}: no room for {size:,} bytes of unpacked files.")
            for member in file.infolist():
                path = PurePosixPath(member.filename.replace("\\", "/"))
                link = (member.external_attr >> 16) & 0o170000 == 0o120000
                if path.is_absolute() or ".." in path.parts or ":" in member.filename or link:
                    raise DataError(
                        f"{archive}: member {member.filename!r} would be written outside the folder. Nothing was "
                        "unpacked; do not trust this archive."
                    )
                file.extract(member, aside)  # checks the CRC of what it writes
        aside.rename(folder)
    except zipfile.BadZipFile as error:
        archive.unlink()
        raise DataError(f"{archive}: not a readable zip file ({error}). It was deleted; download it again.") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
