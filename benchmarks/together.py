"""GenSR, two heads and UniSAR trained two at once, on half of the cores each, against one by one on all of them.

A preset of a small T5 on the demo's generated data, all by ``tasks.alone.run_alone`` as the pipeline trains them: an
epoch of GenSR and of two heads, and as many of UniSAR as asked (none: without it). Only the number of threads differs,
so both sides take the same steps on the same samples, and their NDCG@5 on validation differs by rounding alone, which
is asserted.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.common import tell
from flows.own_models import UNISAR
from gensr_model.config import PipelineConfig
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


def _trained(config: PipelineConfig, inputs: tuple[Path, Path], model: str, at_once: int) -> Metrics:
    prepared, cf = inputs
    module, name, given = "tasks.finetune", "finetune", (config, prepared, cf, model)
    if model == UNISAR:
        module, name, given = "tasks.rivals", "train_probed_rival", (config, prepared, model)
    with tempfile.TemporaryDirectory() as made:
        out, checkpoints = Path(made, "out"), Path(made, "checkpoints")
        out.mkdir()
        return run_alone(module, name, (out, checkpoints), NullReport(), given, at_once)


def _side(
    config: PipelineConfig, inputs: tuple[Path, Path], models: Sequence[str], at_once: int
) -> tuple[float, list[Metrics]]:
    """Seconds until all are trained, and what each came to."""
    begun = time.perf_counter()
    with ThreadPoolExecutor(at_once) as pool:
        found = list(pool.map(lambda model: _trained(config, inputs, model, at_once), models))
    return time.perf_counter() - begun, found


def main() -> None:
    """Print seconds of both sides, in turns, and their ratio by the shorter of each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", choices=("demo", "laptop", "best"), default="demo")
    parser.add_argument("--epochs", type=int, default=1, help="of GenSR and of two heads")
    parser.add_argument("--unisar", type=int, default=0, help="epochs of UniSAR")
    parser.add_argument("--turns", type=int, default=2)
    asked = parser.parse_args()
    epochs = {"epochs": asked.epochs, "two_head_epochs": asked.epochs}
    changes = {
        "preset": asked.preset,
        "train": epochs,
        "rerank": {"epochs": max(1, asked.unisar)},
        "lightgcn": {"epochs": 5},
    }
    config = PipelineConfig.model_validate(changes)
    models = (*MODELS, UNISAR) if asked.unisar else MODELS
    with tempfile.TemporaryDirectory() as made:
        inputs = _ready(config, Path(made))
        _trained(config, inputs, "two_head", 2)  # the server of processes starts
        ours, other = [], []
        for turn in range(asked.turns):
            seconds, together = _side(config, inputs, models, 2)
            ours.append(seconds)
            seconds, apart = _side(config, inputs, models, 1)
            other.append(seconds)
            print(f"turn {turn}: two at once {ours[-1]:.1f} s, one by one {other[-1]:.1f} s", flush=True)
            for model, one, two in zip(models, together, apart, strict=True):
                assert [one[name] for name in SAME] == [two[name] for name in SAME], model
                gap = one["best_valid_ndcg_at_5"] - two["best_valid_ndcg_at_5"]
                assert abs(gap) < TOLERANCE, f"{model}: {gap}"
    tell(
        "two trainings at once",
        min(ours),
        min(other),
        preset=asked.preset,
        epochs=asked.epochs,
        unisar_epochs=asked.unisar,
    )


if __name__ == "__main__":
    main()
