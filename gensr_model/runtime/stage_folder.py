"""Folders of the store: filled aside and renamed, their files listed in ``stage.json``, which is written last."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gensr_model.runtime.files import write_json

RECORD = "stage.json"


@contextmanager
def atomic_dir(folder: Path) -> Iterator[Path]:
    """A new folder aside, which becomes ``folder`` when the block ends well and goes when it does not.

    What a killed process left, and ``folder`` itself, complete no more, go first: hold a lock.
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
    """Write the record of all that is in the folder; returns it.

    Args:
        seconds: of building.
        peak: bytes, of the process and of the GPU; 0 where it was not measured.
        built_on: the device, where it was another machine's.
    """
    files = {
        str(path.relative_to(folder)): path.stat().st_size
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    process, gpu = peak
    record = {"stage": name, "key": key, "metrics": metrics, "files": files, "seconds": round(seconds, 3),
              "peak_bytes": process, "peak_gpu_bytes": gpu, "built_on": built_on}  # fmt: skip
    write_json(folder / RECORD, record)
    return record


def is_complete(folder: Path) -> bool:
    """Whether the folder's record is there and every file in it exists with the recorded size."""
    try:
        files = read_record(folder)["files"]
        return all((folder / name).stat().st_size == size for name, size in files.items())
    except (FileNotFoundError, json.JSONDecodeError, KeyError):
        return False


def read_record(folder: Path) -> dict[str, Any]:
    """The record; FileNotFoundError where there is none."""
    content: dict[str, Any] = json.loads((folder / RECORD).read_text())
    return content
