"""A finished folder of the store: its files, and ``stage.json``, written last, which lists them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gensr_model.files import write_json

RECORD = "stage.json"


def seal(
    folder: Path,
    name: str,
    key: str,
    metrics: dict[str, float],
    seconds: float,
    peak: tuple[int, int],
    where: str = "",
) -> dict[str, Any]:
    """Write the record of all that is in the folder; returns it.

    Args:
        seconds: of building.
        peak: bytes, of the process and of the GPU; 0 where it was not measured.
        where: the device, where it was another machine's.
    """
    files = {
        str(path.relative_to(folder)): path.stat().st_size
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    process, gpu = peak
    record = {"stage": name, "key": key, "metrics": metrics, "files": files, "seconds": round(seconds, 3),
              "peak_bytes": process, "peak_gpu_bytes": gpu, "where": where}  # fmt: skip
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


def how_it_came(stage: dict[str, Any]) -> str:
    """Whether a run built a stage, from its "reused" and "where"."""
    if stage.get("where"):
        return f"reused, built on {stage['where']}"
    return "reused" if stage["reused"] else "built"
