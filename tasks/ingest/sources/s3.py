"""Mirrors objects below an S3 prefix into a folder. Unchanged objects stay, and a broken transfer resumes."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError
from filelock import FileLock
from s3fs import S3FileSystem

from gensr_model.config.base import digest
from gensr_model.config.remote_sources import S3Source
from gensr_model.config.secrets import resolved, scrubbed
from gensr_model.errors import DataError
from gensr_model.runtime.files import write_json
from tasks.core.object_storage import client, reason

_BLOCK = 8 * 2**20


class Listed(NamedTuple):
    """An object of the listing."""

    key: str  # with its bucket
    version: list[Any]  # ETag and size


def mirror(source: S3Source, folder: Path) -> Path:
    """Make ``folder`` equal to the bucket below the prefix, without hidden objects. Returns the folder.

    Raises DataError where the service does not answer, refuses, or has no such bucket or prefix.
    """
    folder.mkdir(parents=True, exist_ok=True)
    known = folder.with_name(f"{folder.name}.versions.json")
    address = resolved(source.url, "source.url")
    url = address.removeprefix("s3://").rstrip("/")
    endpoint = resolved(source.endpoint, "source.endpoint") if source.endpoint else None
    secrets = {address, endpoint} - {source.url, source.endpoint}
    with FileLock(f"{folder}.lock"), _one_error(source, secrets):
        service = client(endpoint, source.anonymous)
        objects = _list(service, url, source.url)
        have = json.loads(known.read_text(encoding="utf-8")) if known.is_file() else {}
        _remove_others(folder, set(objects))
        try:
            for name, listed in objects.items():
                target = folder / name
                if have.get(name) != listed.version or not target.is_file():
                    _transfer(service, listed, target, folder.with_name(f"{folder.name}.parts"))
                    have[name] = listed.version
        finally:
            write_json(known, {name: version for name, version in have.items() if name in objects})
    return folder


def _list(service: S3FileSystem, url: str, given: str) -> dict[str, Listed]:
    """The objects by their path below the prefix."""
    objects = {}
    for key, info in sorted(service.find(url, detail=True).items()):
        name = key.removeprefix(url).lstrip("/") or PurePosixPath(key).name
        parts = PurePosixPath(name).parts
        if name.endswith("/") or any(part.startswith((".", "_")) and part not in (".", "..") for part in parts):
            continue  # marks of folders, and leftovers of other tools
        if ".." in parts or "\\" in name:
            raise DataError(f"{given}: the object {key!r} would be written outside its folder. Rename it.")
        objects[name] = Listed(key, [info["ETag"], info["size"]])
    if not objects:
        raise DataError(f"{given}: no object lies below this prefix. Check bucket, prefix and region (source.url).")
    return objects


def _remove_others(folder: Path, names: set[str]) -> None:
    """Delete files with other names, and empty folders, which may be in the place of an object."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir():
            with contextlib.suppress(OSError):
                path.rmdir()
        elif path.relative_to(folder).as_posix() not in names:
            path.unlink()


def _transfer(service: S3FileSystem, listed: Listed, target: Path, parts: Path) -> None:
    """Fetch one object. After a failure ``parts`` holds its beginning for the next run, by key and version."""
    parts.mkdir(exist_ok=True)
    part = parts / digest([listed.key, *listed.version])
    size = listed.version[1]
    have = part.stat().st_size if part.exists() else 0
    if shutil.disk_usage(parts).free < size - have:
        raise DataError(
            f"{parts}: no room for the {size - have:,} bytes of {listed.key}. Free some space, or set "
            "GENSR_HOME to another disk."
        )
    # s3fs asks for the version that was there when it opened the object, and raises if that is gone
    with part.open("ab") as out, service.open(listed.key, "rb", block_size=_BLOCK, cache_type="none") as remote:
        if [remote.details["ETag"], remote.size] != listed.version:
            raise DataError(f"s3://{listed.key}: the object changed while it was read. Run again.")
        remote.seek(have)
        while chunk := remote.read(_BLOCK):
            out.write(chunk)
    if (came := part.stat().st_size) != size:
        part.unlink()
        raise DataError(f"s3://{listed.key}: {came:,} bytes came instead of {size:,}. Run again.")
    target.parent.mkdir(parents=True, exist_ok=True)
    part.replace(target)


@contextlib.contextmanager
def _one_error(source: S3Source, secrets: set[str | None]) -> Iterator[None]:
    """Raise s3fs's errors as one DataError that names the source and holds no secret."""
    try:
        yield
    except (OSError, BotoCoreError, ClientError) as error:
        where, public = source.endpoint or "AWS", "; a public bucket needs source.anonymous: true"
        text = reason(error, where, "source.url", "source.endpoint", "list and read this prefix", public)
        # from None: the logged trace then has no message of the library, which may quote a URL
        raise DataError(f"source {source.url}: {scrubbed(text, *secrets)}") from None
