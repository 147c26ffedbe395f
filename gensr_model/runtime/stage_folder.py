"""Folders of the store: written under a temporary name and renamed. The manifest ``stage.json`` is written last."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gensr_model.config.base import digest
from gensr_model.runtime.files import write_json

RECORD = "stage.json"


@contextmanager
def atomic_dir(folder: Path) -> Iterator[Path]:
    """A new temporary folder, which becomes ``folder`` when the block succeeds and is removed when it fails.

    Leftovers of a killed process and an incomplete ``folder`` are removed first, so hold a lock.
    """
    for stale in folder.parent.glob(f"{folder.name}*"):
        if stale.is_dir():
            shutil.rmtree(stale)
    aside = folder.with_name(f"{folder.name}.tmp-{os.getpid()}")
    aside.mkdir(parents=True)
    try:
        yield aside
        aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def write_manifest(
    folder: Path,
    name: str,
    key: str,
    metrics: dict[str, float],
    seconds: float,
    peak: tuple[int, int],
    built_on: str = "",
) -> dict[str, Any]:
    """Write and return the manifest of the folder: size and SHA-256 of each file.

    Args:
        seconds: duration of the build.
        peak: bytes of the process and of the GPU; 0 where they were not measured.
        built_on: the device, where it belongs to another machine.
    """
    files = {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": _sha256(path)}
        for path in _files(folder)
    }
    process, gpu = peak
    record = {"stage": name, "key": key, "metrics": metrics, "files": files, "seconds": round(seconds, 3),
              "peak_bytes": process, "peak_gpu_bytes": gpu, "built_on": built_on}  # fmt: skip
    write_json(folder / RECORD, record)
    return record


def _files(folder: Path) -> list[Path]:
    """All files of the folder but its manifest, sorted."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / RECORD)


def _sha256(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_digest(record: dict[str, Any]) -> str:
    """Digest (24 hex digits) of names and bytes of a manifest's files, without its seconds, metrics and peaks."""
    return digest({name: file["sha256"] for name, file in record["files"].items()}, length=24)


def folder_digest(folder: Path) -> str:
    """The same digest from the files themselves, for a folder without a reliable manifest."""
    files = {path.relative_to(folder).as_posix(): {"sha256": _sha256(path)} for path in _files(folder)}
    return content_digest({"files": files})


def is_complete(folder: Path) -> bool:
    """Whether the folder has a manifest, and every file in it exists with the recorded size."""
    try:
        files = read_record(folder)["files"]
        return all((folder / name).stat().st_size == file["bytes"] for name, file in files.items())
    except (FileNotFoundError, json.JSONDecodeError, KeyError, TypeError):
        return False


def read_record(folder: Path) -> dict[str, Any]:
    """Read the manifest. Raises FileNotFoundError where there is none."""
    content: dict[str, Any] = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    return content
