"""Downloads raw files: resumes broken transfers, verifies size and digest, and unpacks zips safely.

A file is written as ``<name>.part`` and renamed when it is complete and verified, so a file with its final name is
good. ``<folder>.versions.json`` holds the server's version of each file (ETag, Last-Modified).
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import shutil
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from filelock import FileLock

from gensr_model.config.remote_sources import RemoteFile
from gensr_model.config.secrets import resolved, scrubbed
from gensr_model.errors import DataError
from gensr_model.runtime.files import write_json

ATTEMPTS = 6
FIRST_PAUSE_S = 1.0  # doubles with every attempt without progress
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
    ask_again: bool = False,
) -> Path:
    """Download the ``files`` into ``folder``. Returns the folder.

    Zip files are unpacked beside themselves and then deleted. Existing files stay. With ``ask_again``, files without a
    digest are fetched again where the server has another version. ``progress(name, bytes so far, bytes in all or
    None)`` is called about once per MiB.

    Raises:
        DataError: a file cannot be downloaded, has the wrong size or digest, or is a zip with members outside its
            folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    addresses = [_address(remote, f"source.files.{n}.url") for n, remote in enumerate(files)]
    names = [_file_name(address) for address in addresses]
    if twice := [name for name in names if names.count(name) > 1]:
        raise DataError(f"source.files: two of the files are called {twice[0]}. Put them under different names.")
    noted = folder.with_name(f"{folder.name}.versions.json")
    with FileLock(f"{folder}.lock"):
        versions: dict[str, str] = json.loads(noted.read_text(encoding="utf-8")) if noted.is_file() else {}
        for remote, address, name in zip(files, addresses, names, strict=True):
            target, unpacked = folder / name, folder / PurePosixPath(name).stem
            packed = name.endswith(".zip")
            there = unpacked.is_dir() if packed else target.exists()
            settled = there and not (ask_again and remote.sha256 is None and remote.md5 is None)
            if not settled and (there or not target.exists()):  # else a zip that is not yet unpacked
                version = _download(remote, address, target, pause_s, progress, versions.get(name) if there else None)
                if version is not None:
                    versions[name] = version
                    write_json(noted, versions)
            if packed and target.exists():
                _unpack(target, unpacked)
                target.unlink()
    return folder


class Address(NamedTuple):
    """The address of a file, and the secrets in it."""

    shown: str  # in messages
    url: str  # without user and password
    login: str  # header Authorization; may be empty
    secrets: tuple[str | None, ...]  # texts that no message may repeat


def _address(remote: RemoteFile, field: str) -> Address:
    """The address that a config names. A variable's value stays out of messages."""
    url = resolved(remote.url, field)
    if url == remote.url:
        return Address(url, url, "", ())
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    login = f"Basic {base64.b64encode(unquote(user).encode()).decode()}" if user else ""
    return Address(remote.url, parts._replace(netloc=host).geturl(), login, (url, user, parts.query))


def _file_name(address: Address) -> str:
    parts = urlsplit(address.url)
    name = PurePosixPath(unquote(parts.path)).name
    if parts.scheme not in ("http", "https") or name in ("", ".", "..") or "\\" in name:
        raise DataError(f"{address.shown} is no http(s) address of a file. Give the URL of one file.")
    return name


def _download(
    remote: RemoteFile,
    address: Address,
    target: Path,
    pause_s: float,
    progress: Callable[[str, int, int | None], None] | None,
    known: str | None,
) -> str | None:
    """Fetch one file unless the server still has the version ``known``.

    Returns the new version, or None if unchanged.
    """
    part = target.with_name(target.name + ".part")
    fruitless, fresh, complete, version = 0, False, False, ""
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            if not complete:
                version = _transfer(remote, address, part, progress, known)
        except urllib.error.HTTPError as error:
            if error.code == 304:
                return None
            if error.code == 416 and before:
                # Nothing is left to send: either we have it all, or the part belongs to another file.
                complete = error.headers.get("Content-Range") == f"bytes */{before}"
                if not complete:
                    part.unlink()
            elif error.code < 500 and error.code not in (408, 429):
                raise DataError(f"{address.shown}: the server answers {error.code} {error.reason}.") from None
            problem: Exception = error
        except (*_RETRIED, Truncated) as error:
            problem = error
        else:
            wrong = _mismatch(remote, part)
            _tag(part).unlink(missing_ok=True)
            if not wrong:
                part.replace(target)
                return version
            part.unlink()
            complete = False
            if fresh or not before:
                raise DataError(f"{address.shown}: {wrong}. The download was deleted; is the address still right?")
            fresh = True  # a resumed file may mix two versions: try once more, from the start
            continue
        grown = (part.stat().st_size if part.exists() else 0) > before
        fruitless = 0 if grown else fruitless + 1
        if fruitless >= ATTEMPTS:
            resumes = f" {part} keeps what came so far; the next run resumes." if part.exists() else ""
            reason = scrubbed(str(problem), *address.secrets)
            raise DataError(
                f"{address.shown}: gave up after {ATTEMPTS} attempts without progress ({reason}).{resumes} Check the "
                "network, or download the file yourself and use a folder source."
            ) from None
        time.sleep(pause_s * 2**fruitless)


def _transfer(
    remote: RemoteFile,
    address: Address,
    part: Path,
    progress: Callable[[str, int, int | None], None] | None,
    known: str | None,
) -> str:
    """One request. It appends to ``part`` if the server honors the range, and starts over if not.

    Returns the server's version in a form for later requests. Empty where the server states none.
    """
    have = part.stat().st_size if part.exists() else 0
    tag = _tag(part)
    request = urllib.request.Request(address.url, headers={"User-Agent": "gensr", "Accept-Encoding": "identity"})
    if address.login:  # not to the target of a redirect
        request.add_unredirected_header("Authorization", address.login)
    if have:
        request.add_header("Range", f"bytes={have}-")
        if tag.exists():  # a changed file then comes whole, instead of as a continuation of the old part
            request.add_header("If-Range", tag.read_text(encoding="utf-8"))
    elif known:
        request.add_header("If-None-Match" if known[-1] == '"' else "If-Modified-Since", known)
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
        resumed = response.status == 206 and _range_start(response.headers.get("Content-Range")) == have
        if response.status == 206 and not resumed:
            raise http.client.HTTPException(f"unasked range {response.headers.get('Content-Range')}")
        have = have if resumed else 0
        announced = response.headers.get("Content-Length")
        total = have + int(announced) if announced else remote.bytes
        if total is not None and shutil.disk_usage(part.parent).free < total - have:
            raise DataError(
                f"{part.parent}: no room for the {total - have:,} bytes of {address.shown}. Free some "
                "space, or set GENSR_HOME to another disk."
            )
        etag, modified = response.headers.get("ETag") or "", response.headers.get("Last-Modified") or ""
        strong = modified if etag[:2] in ("", "W/") else etag
        if strong and not resumed:
            tag.write_text(strong, encoding="utf-8")
        with part.open("ab" if resumed else "wb") as out:
            while chunk := response.read(CHUNK):
                out.write(chunk)
                have += len(chunk)
                if progress:
                    progress(part.name.removesuffix(".part"), have, total)
    if total is not None and announced and have < total:
        raise Truncated(f"the connection ended after {have:,} of {total:,} bytes")
    return etag or modified


def _tag(part: Path) -> Path:
    """The file with the server's version of a partial file."""
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
    """Unpack aside, then rename. Raises DataError for a damaged zip or a member outside ``folder``."""
    aside = folder.with_name(folder.name + ".part")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    try:
        with zipfile.ZipFile(archive) as file:
            size = sum(member.file_size for member in file.infolist())
            if shutil.disk_usage(aside).free < size:
                raise DataError(
                    f"{archive}: no room for {size:,} bytes of unpacked files. Free some space, or set "
                    "GENSR_HOME to another disk."
                )
            for member in file.infolist():
                path = PurePosixPath(member.filename.replace("\\", "/"))
                link = (member.external_attr >> 16) & 0o170000 == 0o120000
                if path.is_absolute() or ".." in path.parts or ":" in member.filename or link:
                    raise DataError(
                        f"{archive}: member {member.filename!r} would be written outside the folder. Nothing was "
                        "unpacked; do not trust this archive."
                    )
                file.extract(member, aside)  # checks the CRC of what it writes
        shutil.rmtree(folder, ignore_errors=True)
        aside.rename(folder)
    except zipfile.BadZipFile as error:
        archive.unlink()
        raise DataError(f"{archive}: not a readable zip file ({error}). It was deleted; download it again.") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
