"""Seconds of a training epoch: ours against RecBole's systems of the same names, of equal width, length and batch.

python -m benchmarks.peers.epochs ../shared/data/amazon-scientific [--systems sasrec ...] [--epochs 2] [--venv FOLDER]

Both sides train on the same samples, on one thread, without validation. Seconds are processor time. RecBole is measured
as shipped, with batches of random rows at full length, and trimmed: batches of like lengths, cut to their longest, as
ours are. Where RecBole cannot be installed, the command says so and ends with 0. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import prepared
from benchmarks.peers import exchange
from benchmarks.peers.__main__ import CATALOGUE, HERE, NoPeerError, environment
from benchmarks.sides import arguments, in_child
from gensr_model.baselines.inputs import Collator
from gensr_model.baselines.registry import BASELINES
from gensr_model.config.pipeline import PipelineConfig, with_changes
from gensr_model.data.prepared import PreparedDataset
from gensr_model.runtime.malloc import keep_freed_memory
from gensr_model.runtime.progress import NullReport
from gensr_model.training import baseline, lightgcn
from gensr_model.training.trainer import TrainingData, fit

BATCH, GRAPH_BATCH, LAYERS = 256, 4096, 3
# RecBole's model and what makes its shape ours. Widths of 64, two blocks and two heads are defaults of both.
SYSTEMS: dict[str, tuple[str, dict[str, Any]]] = {
    "sasrec": ("SASRec", {**CATALOGUE, "inner_size": 64}),
    "gru4rec": ("GRU4Rec", CATALOGUE),
    "bert4rec": ("BERT4Rec", CATALOGUE),
    "lightgcn": ("LightGCN", {"train_batch_size": GRAPH_BATCH, "n_layers": LAYERS}),
}


def ours(name: str, folder: Path, epochs: int) -> dict[str, float]:
    """Samples and seconds of an epoch of ours, in this process. Samples without history are left out, as in RecBole."""
    torch.set_num_threads(1)
    keep_freed_memory()  # as the stage does
    dataset = PreparedDataset.open(folder)
    config = PipelineConfig.model_validate({"preset": "laptop", "rerank": {"batch_size": BATCH}})
    with tempfile.TemporaryDirectory(prefix="gensr-benchmark-") as place:
        if name == "lightgcn":
            return _lightgcn(dataset, config, epochs)
        system = BASELINES[name]
        config = with_changes(config, {"train": {"epochs": epochs, "patience": epochs}})
        collator = Collator(dataset, system.reads, config.model.max_history, None)
        torch.manual_seed(config.seed)
        model, settings = baseline.build(system, {}, collator), baseline.training_settings(config, {})
        data = TrainingData(
            dataset, settings, collator.max_history, config.seed, builder=collator, tasks=system.tasks, min_history=1
        )
        begun = time.process_time()
        fit(
            model, data, settings, seed=0, epochs=epochs, folder=Path(place), validate=lambda: {"metric": 0.0},
            report=NullReport(),
        )  # fmt: skip
        return {"samples": len(data.samples), "epoch_s": (time.process_time() - begun) / epochs}


def _lightgcn(dataset: PreparedDataset, config: PipelineConfig, epochs: int) -> dict[str, float]:
    (user, item), rng = dataset.graph(), lightgcn.pair_generator(0)
    bpr = lightgcn.Bpr(user, item, dataset.n_users, dataset.n_items, config.lightgcn, 0)
    begun = time.process_time()
    for _ in range(epochs):
        for batch in lightgcn.batches(user, item, dataset.n_items, GRAPH_BATCH, rng):
            bpr.step(*batch)
    return {"samples": len(user), "epoch_s": (time.process_time() - begun) / epochs}


def theirs(name: str, dataset: PreparedDataset, python: Path, epochs: int, trimmed: bool) -> dict[str, float]:
    """The same of RecBole's system, in the Python of its own environment."""
    model, settings = SYSTEMS[name]
    job = {"model": model, "settings": {**settings, "epochs": epochs, "seed": 0}, "max_history": 30}
    with tempfile.TemporaryDirectory(prefix="gensr-peer-") as place:
        folder = Path(place)
        exchange.export(dataset, {**job, "time_epochs": epochs, "trimmed": trimmed}, folder)
        environ = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
        environ.pop("PYTHONPATH", None)  # gensr's packages are not the peer's
        subprocess.run([str(python), str(HERE / "recbole_child.py"), str(folder)], cwd=folder, env=environ, check=True)
        result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return {"samples": result["train_rows"], "epoch_s": result["cpu_seconds"] / epochs}


def compare(name: str, dataset: PreparedDataset, python: Path, epochs: int) -> dict[str, Any]:
    """Seconds of all sides of one system and their ratios. The number of samples is asserted equal."""
    sides = {"ours": in_child("peers.epochs", "--child", name, dataset.folder, epochs)}
    sides["shipped"] = theirs(name, dataset, python, epochs, trimmed=False)
    if name != "lightgcn":  # a graph has no padding
        sides["trimmed"] = theirs(name, dataset, python, epochs, trimmed=True)
    assert len({side["samples"] for side in sides.values()}) == 1, sides
    own = sides["ours"]["epoch_s"]
    made = {"system": name, "samples": sides["ours"]["samples"]}
    made |= {f"{side}_s": round(cost["epoch_s"], 2) for side, cost in sides.items()}
    return made | {f"speedup_{s}": round(cost["epoch_s"] / own, 2) for s, cost in sides.items() if s != "ours"}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("raw", type=Path, nargs="?", help="folder of raw files")
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--venv", type=Path, default=Path(os.environ.get("GENSR_HOME", ".gensr")) / "peers-venv")
    parser.add_argument("--child", nargs=3, metavar=("NAME", "FOLDER", "EPOCHS"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        name, folder, epochs = given.child
        print(json.dumps(ours(name, Path(folder), int(epochs))))
        return
    if given.raw is None:
        parser.error("name a folder of raw files")
    try:
        python = environment(given.venv.resolve(), HERE / "requirements.txt")
    except NoPeerError as error:
        sys.exit(print(json.dumps({"skipped": str(error)})))
    dataset, _ = prepared(0, 0, {"kind": "folder", "path": str(given.raw)})
    rows = []
    for name in given.systems:
        rows.append(compare(name, dataset, python, given.epochs))
        print(json.dumps(rows[-1]), flush=True)
    print(json.dumps({"claim": "seconds of a training epoch against RecBole, equal samples and shapes", "rows": rows}))


if __name__ == "__main__":
    main()
