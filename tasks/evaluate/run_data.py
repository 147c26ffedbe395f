"""The data that every model of a run is trained and evaluated on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from gensr_model.config.base import TASKS, Split, Task
from tasks.core.stage import StageResult


class Data(NamedTuple):
    """The stages before any model."""

    source: StageResult
    prepared: StageResult
    checks: StageResult  # of prepared: its profile, and the bins that later data are compared with
    cf: StageResult
    stages: list[StageResult]  # all that ran, in order, for the summary


def data_tasks(prepared: Path) -> tuple[Task, ...]:
    """The tasks of which the prepared dataset has samples; its manifest names them where it may lack one."""
    manifest = json.loads((prepared / "manifest.json").read_text(encoding="utf-8"))
    return tuple(manifest.get("tasks", TASKS))


def ranked_users(prepared: StageResult, split: Split = "test") -> pa.Table:
    """``sample_id`` and ``user_idx`` of every sample of a split: whom comparisons resample."""
    return pq.read_table(prepared.path / f"samples_{split}.parquet", columns=["sample_id", "user_idx"])
