"""Cost of a separate process for a stage: forked from a server with all imports, or with its own imports.

The work is the same and tiny, so the times are those of starting and ending a process. Our first process also starts
the server and waits for its imports; its time is shown separately. Run it on Linux without a GPU: elsewhere both sides
are the same.
"""

from __future__ import annotations

import multiprocessing
import statistics
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

import psutil
import torch

from benchmarks.common import tell
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.runtime.progress import NullReport
from tasks.core.isolated_process import run_in_subprocess
from tasks.core.work import Work

AFTER_THE_FIRST = 8


def work(at: Work, config: PipelineConfig) -> dict[str, float]:
    """A number that depends on what crossed."""
    return {"seed": float(torch.full((10,), config.seed).sum())}


def _run(seed: int, folder: Path) -> tuple[float, dict[str, float]]:
    begun = time.perf_counter()
    made = run_in_subprocess(
        "benchmarks.isolated_process", "work", (folder, folder), NullReport(), (PipelineConfig(seed=seed),), share=1
    )
    return time.perf_counter() - begun, made


def _side(folder: Path) -> tuple[float, list[float], list[float], float]:
    first, _ = _run(0, folder)
    runs = [_run(seed, folder) for seed in range(1, AFTER_THE_FIRST + 1)]
    peak = max(made["peak_memory_mb"] for _, made in runs)
    return first, [seconds for seconds, _ in runs], [made["seed"] for _, made in runs], peak


def main() -> None:
    """Print both sides, and the ratio of the costs of a process after the first."""
    if sys.platform != "linux" or torch.cuda.is_available():
        sys.exit("benchmarks.isolated_process: every process imports by itself here, there is nothing to compare")
    with tempfile.TemporaryDirectory() as made:
        first, ours, answers, peak = _side(Path(made))
        server = sum(child.memory_info().rss for child in psutil.Process().children()) / 2**20
        with mock.patch(
            "tasks.core.isolated_process.process_context", return_value=multiprocessing.get_context("spawn")
        ):
            other_first, other, same, other_peak = _side(Path(made))
    assert answers == same
    print(f"from a server: first {first:.2f} s, then {statistics.median(ours):.2f} s each; peak of one {peak:.0f} MB")
    print(f"server and its watch: {server:.0f} MB as long as the flow run")
    print(f"by itself: first {other_first:.2f} s, then {statistics.median(other):.2f} s each; peak {other_peak:.0f} MB")
    tell(
        "beginning and ending a process of its own", statistics.median(ours), statistics.median(other),
        processes=AFTER_THE_FIRST, first_s=first, server_mb=round(server),
    )  # fmt: skip


if __name__ == "__main__":
    main()
