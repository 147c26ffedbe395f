"""GenSR and two heads trained at once, each on half of the cores, against one after the other on all of them.

The preset ``demo`` on its generated data, both by ``tasks.alone.run_alone`` as the pipeline trains them, an epoch of
each unless asked otherwise. Only the number of threads differs, so both sides take the same steps on the same samples,
and their NDCG@5 on validation differs by rounding alone, which is asserted.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.common import tell
from gensr_model.config import PipelineConfig, with_changes
from gensr_model.report import NullReport
from tasks.alone import Metrics, run_alone
from tasks.finetune import MODELS
from tasks.ingest import build_raw, source_files
from tasks.prepare import build_prepared
from tasks.pretrain import pretrain
from tasks.stage import Work

SAME = ("steps", "epochs")  # whatever the number of threads
TOLERANCE = 0.02  # of the mean NDCG@5 on 300 validation samples a task


def _ready(config: PipelineConfig, folder: Path) -> tuple[Path, Path]:
    raw, prepared, cf = (folder / name for name in ("raw", "prepared", "cf"))
    for place in (raw, prepared, cf):
        place.mkdir()
    build_raw(config, source_files(config, folder), raw)
    build_prepared(raw, config, prepared)
    pretrain.build(Work(cf, folder, NullReport()), config, prepared)
    return prepared, cf


def _side(config: PipelineConfig, inputs: tuple[Path, Path], at_once: int) -> tuple[float, list[Metrics]]:
    """Seconds until both are trained, and what each came to."""

    def train(model: str) -> Metrics:
        with tempfile.TemporaryDirectory() as made:
            out, checkpoints = Path(made, "out"), Path(made, "checkpoints")
            out.mkdir()
            arguments = (config, *inputs, model)
            return run_alone(
                "tasks.finetune", "finetune", (out, checkpoints), NullReport(), arguments, at_once
            )

    begun = time.perf_counter()
    with ThreadPoolExecutor(at_once) as pool:
        found = list(pool.map(train, MODELS))
    return time.perf_counter() - begun, found


def main() -> None:
    """Print seconds of both sides, in turns, and their ratio by the shorter of each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=1, help="of each model")
    parser.add_argument("--turns", type=int, default=2)
    given = parser.parse_args()
    train = {"epochs": given.epochs, "two_head_epochs": given.epochs}
    config = with_changes(PipelineConfig(), {"train": train, "lightgcn": {"epochs": 5}})
    with tempfile.TemporaryDirectory() as made:
        inputs = _ready(config, Path(made))
        _side(
            with_changes(config, {"train": {"valid_samples": 1}}), inputs, 2
        )  # the server of processes starts
        ours, other = [], []
        for turn in range(given.turns):
            seconds, together = _side(config, inputs, 2)
            ours.append(seconds)
            seconds, apart = _side(config, inputs, 1)
            other.append(seconds)
            print(f"turn {turn}: at once {ours[-1]:.1f} s, one after the other {other[-1]:.1f} s")
            for model, one, two in zip(MODELS, together, apart, strict=True):
                assert [one[name] for name in SAME] == [two[name] for name in SAME], model
                gap = one["best_valid_ndcg_at_5"] - two["best_valid_ndcg_at_5"]
                assert abs(gap) < TOLERANCE, f"{model}: {gap}"
    tell("GenSR and two heads at once", min(ours), min(other), epochs=given.epochs)


if __name__ == "__main__":
    main()
