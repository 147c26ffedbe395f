"""The data that all models of a run share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from gensr_model.config.base import SHOWN, TASKS, Protocol, Split, Task
from tasks.core.stage import StageResult


class Data(NamedTuple):
    """The stages before any model."""

    source: StageResult
    prepared: StageResult
    checks: StageResult  # profile of the prepared dataset, and its bins for comparison with later data
    cf: StageResult
    stages: list[StageResult]  # all that ran, in order, for the summary


def data_tasks(prepared: Path) -> tuple[Task, ...]:
    """The tasks with samples in the prepared dataset. Its manifest names them where one may be missing."""
    manifest = json.loads((prepared / "manifest.json").read_text(encoding="utf-8"))
    return tuple(manifest.get("tasks", TASKS))


def unranked_tasks(prepared: Path, protocol: Protocol) -> tuple[Task, ...]:
    """The tasks of which no test sample has candidates of the protocol ``shown``. Empty for other protocols."""
    manifest = json.loads((prepared / "manifest.json").read_text(encoding="utf-8"))
    counts = manifest["counts"].get("shown", {}).get("test", {}) if protocol == SHOWN else {}
    return tuple(task for task in TASKS if task in counts and not counts[task]["samples"])


def ranked_users(prepared: StageResult, split: Split = "test") -> pa.Table:
    """``sample_id`` and ``user_idx`` of every sample of a split: the users that comparisons resample."""
    return pq.read_table(prepared.path / f"samples_{split}.parquet", columns=["sample_id", "user_idx"])
