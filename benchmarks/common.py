"""A generated prepared dataset and a stopwatch for the benchmarks."""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from gensr_model.config.pipeline import PipelineConfig
from gensr_model.data.prepared import PreparedDataset
from tasks.ingest.ingest import build_raw, source_files
from tasks.prepare.prepare import build_prepared

torch.set_num_threads(1)


def prepared(
    users: int, items: int, source: dict[str, Any] | None = None, **fields: Any
) -> tuple[PreparedDataset, PipelineConfig]:
    """A generated Amazon dataset, prepared by the pipeline, with the laptop preset's model.

    ``source`` and further fields of ``PipelineConfig`` replace those of the preset.
    """
    source = source or {"kind": "generated", "users": users, "items": items, "events_per_user": 12}
    config = PipelineConfig.model_validate({"preset": "laptop", "source": source, **fields})
    folder = Path(tempfile.mkdtemp(prefix="gensr-benchmark-"))
    atexit.register(shutil.rmtree, folder)
    for name in ("raw", "prepared"):
        (folder / name).mkdir()
    build_raw(config, source_files(config, folder), folder / "raw")
    build_prepared(folder / "raw", config, folder / "prepared")
    return PreparedDataset.open(folder / "prepared"), config


def seconds(work: Callable[[], Any], repeat: int = 5) -> float:
    """The shortest duration of some runs, after one warm-up run."""
    work()
    best = float("inf")
    for _ in range(repeat):
        begun = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - begun)
    return best


def tell(claim: str, ours: float, other: float, **more: Any) -> None:
    """Print the result as the last line."""
    result = {"claim": claim, "speedup": round(other / ours, 2), "ours_s": ours, "other_s": other, **more}
    print(json.dumps(result))
