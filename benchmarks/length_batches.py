"""Training batches of similar history lengths against batches of random rows: time of an epoch, and what is learned.

python -m benchmarks.length_batches [name ...] [--source FOLDER | --dataset FOLDER] [--epochs 3] [--seeds 0 1 2]

Both sides train on the same samples with the same trainer, in turn, each in a separate process. Both orders are
asserted to hold every sample once per epoch. Seconds are the process's user time, without validation, which other work
on the machine changes little. Without a folder the data are generated.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from benchmarks.common import prepared
from benchmarks.sides import arguments, in_child
from gensr_model.baselines.inputs import READS_WORDS, TEXT, Collator
from gensr_model.baselines.registry import BASELINES
from gensr_model.baselines.words import Lexicon
from gensr_model.config.pipeline import PipelineConfig, with_changes
from gensr_model.config.training import TrainConfig
from gensr_model.data.prepared import PreparedDataset
from gensr_model.models import bundle
from gensr_model.runtime.progress import NullReport
from gensr_model.training import baseline, lightgcn
from gensr_model.training.finetune import CandidateValidation
from gensr_model.training.fitting import validation_metrics
from gensr_model.training.trainer import TrainingData, fit

NAMES = ("sasrec", "gru4rec", "unisar", "gensr")
SIDES = ("length", "random")


class Training(NamedTuple):
    """A new model, with its training and validation data."""

    model: nn.Module
    data: TrainingData
    settings: TrainConfig
    validate: Callable[[], dict[str, float]]


def baseline_training(name: str, dataset: PreparedDataset, config: PipelineConfig, by_length: bool) -> Training:
    system = BASELINES[name]
    lexicon = None
    if system.reads & READS_WORDS:
        lexicon = Lexicon.build(dataset, config.model.text if TEXT in system.reads else None)
    collator = Collator(dataset, system.reads, config.model.max_history, lexicon)
    torch.manual_seed(config.seed)
    model = baseline.build(system, {}, collator)
    settings = baseline.training_settings(config, {})
    data = TrainingData(
        dataset, settings, collator.max_history, config.seed, builder=collator, tasks=system.tasks,
        by_length=by_length,
    )  # fmt: skip
    return Training(model, data, settings, baseline.CandidateValidation(model, dataset, collator, system.tasks, config))


def gensr_training(dataset: PreparedDataset, config: PipelineConfig, folder: Path, by_length: bool) -> Training:
    cf = folder / "cf"
    cf.mkdir()
    lightgcn.pretrain(dataset, config.lightgcn, config.seed, cf, NullReport())
    model, _ = bundle.assemble("gensr", dataset, cf, config)
    data = TrainingData(dataset, config.train, config.model.max_history, config.seed, by_length=by_length)
    ranks = CandidateValidation(dataset, config)
    return Training(model, data, config.train, lambda: validation_metrics(ranks(model), "ndcg_at_5"))


def user_seconds() -> float:
    return getrusage(RUSAGE_SELF).ru_utime


def padded_share(data: TrainingData) -> float:
    """Share of padding among the events in an epoch's batches."""
    order = data.epoch_order(0)
    lengths = data.builder.lengths(data.samples)[order]
    size = data.config.batch_size
    widths = [lengths[start : start + size].max(initial=1) for start in range(0, len(order), size)]
    counts = [len(order[start : start + size]) for start in range(0, len(order), size)]
    return 1 - float(lengths.sum()) / float(np.dot(widths, counts))


def measure(name: str, side: str, folder: Path, epochs: int, seed: int) -> dict[str, Any]:
    """One training: user seconds of an epoch, padding, and the validation metric after each epoch."""
    dataset = PreparedDataset.open(folder)
    config = with_changes(
        PipelineConfig.model_validate({"preset": "laptop", "seed": seed}),
        {"train": {"epochs": epochs, "patience": epochs}, "lightgcn": {"epochs": 10}},
    )
    with tempfile.TemporaryDirectory(prefix="gensr-benchmark-") as temporary:
        by_length = side == "length"
        training = (
            gensr_training(dataset, config, Path(temporary), by_length)
            if name == "gensr"
            else baseline_training(name, dataset, config, by_length)
        )
        data, validating = training.data, 0.0
        for epoch in range(epochs):
            assert np.array_equal(np.sort(data.epoch_order(epoch)), np.arange(len(data.samples)))

        def validate() -> dict[str, float]:
            nonlocal validating
            begun = user_seconds()
            metrics = training.validate()
            validating += user_seconds() - begun
            return metrics

        begun = user_seconds()
        result = fit(
            training.model, data, training.settings, seed=seed, epochs=epochs, folder=Path(temporary) / "steps",
            validate=validate, report=NullReport(),
        )  # fmt: skip
    return {
        "system": name, "side": side, "seed": seed, "samples": len(data.samples),
        "user_s_per_epoch": round((user_seconds() - begun - validating) / epochs, 2),
        "padding": round(padded_share(data), 3),
        "valid_ndcg_at_5": [round(row["metric"], 4) for row in result.validations],
    }  # fmt: skip


def compare(name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Both sides of one model over its seeds."""
    sides = {side: [row for row in rows if row["side"] == side] for side in SIDES}
    assert len({row["samples"] for row in rows}) == 1
    seconds = {side: statistics.mean(row["user_s_per_epoch"] for row in sides[side]) for side in SIDES}
    last = {side: [row["valid_ndcg_at_5"][-1] for row in sides[side]] for side in SIDES}
    by_seed = [ours - other for ours, other in zip(*last.values(), strict=True)]
    return {
        "claim": f"{name}: user seconds of an epoch in batches by length, against random batches",
        "speedup": round(seconds["random"] / seconds["length"], 2),
        "ours_s": round(seconds["length"], 2), "other_s": round(seconds["random"], 2),
        "padding": {side: sides[side][0]["padding"] for side in SIDES},
        "valid_ndcg_at_5": {side: round(statistics.mean(last[side]), 4) for side in SIDES},
        "ndcg_difference_by_seed": [round(value, 4) for value in by_seed],
    }  # fmt: skip


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("names", nargs="*", help=f"{', '.join(NAMES)} where none is given")
    parser.add_argument("--source", type=Path, help="a folder of raw files in Amazon's format")
    parser.add_argument("--dataset", type=Path, help="a prepared folder")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--child", nargs=2, metavar=("NAME", "SIDE"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(measure(*given.child, given.dataset, given.epochs, given.seeds[0])))
        return
    folder = given.dataset
    if folder is None:
        source = None if given.source is None else {"kind": "folder", "path": str(given.source)}
        folder = prepared(users=3_000, items=1_500, source=source)[0].folder
    for name in given.names or NAMES:
        rows = []
        for seed in given.seeds:
            for side in SIDES:
                options = ("--dataset", folder, "--epochs", given.epochs, "--seeds", seed)
                rows.append(in_child("length_batches", "--child", name, side, *options))
                print(json.dumps(rows[-1]), flush=True)
        print(json.dumps(compare(name, rows)), flush=True)


if __name__ == "__main__":
    main()
