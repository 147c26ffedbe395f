"""Trains and ranks everything on the small dataset with two threads, and writes digests of weights and ranks.

repeat_process.py ROOT OUT: ROOT has prepared/. OUT becomes a folder with digests.json: a digest by name of each result.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import pyarrow as pa
import torch

from gensr_model.analysis import critics
from gensr_model.baselines.registry import BASELINES
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.data.prepared import PreparedDataset
from gensr_model.evaluation import catalogue
from gensr_model.evaluation.evaluate import rank_bundle
from gensr_model.models import cf_tables, fold_tables
from gensr_model.runtime.files import read_tensors
from gensr_model.runtime.progress import NullReport
from gensr_model.training import baseline, cross_fit
from gensr_model.training.finetune import TRAIN, train_full_ranking

FULL_RANKING = "full_ranking"
# Wide and long enough that a batch's gradients go to both threads: PyTorch shares out 32,768 numbers or more.
MODEL = {"max_history": 10, "text": {"description_tokens": 4}, "backbone": {"vocab_size": 120, "encoder_layers": 1}}
BEST = {
    "answer_loss": "yes_no",
    "departures": {
        "searches_in_text": {"enabled": True, "leave_one_out": True},
        "folds": 2,
        "interaction": True,
        "query_interaction": True,
        "cold_items": 0.1,
        "item_embedding": True,
    },
}
CONFIG = {
    "preset": "laptop",
    "seed": 3,
    "model": MODEL,
    "lightgcn": {"epochs": 20, "batch_size": 512},
    "train": {"epochs": 2, "two_head_epochs": 2, "batch_size": 128, "valid_samples": 40},
    "full_ranking": {"epochs": 2, "batch_size": 128, "valid_samples": 40},
    "rerank": {"epochs": 2, "batch_size": 128},
    "analysis": {"gradient_every": 4},
}


def digest(result: pa.Table | dict[str, torch.Tensor]) -> str:
    """Of a table's rows, or of tensors by name."""
    if isinstance(result, pa.Table):
        return hashlib.sha256(repr(result.to_pydict()).encode()).hexdigest()
    hashed = hashlib.sha256()
    for name in sorted(result):
        hashed.update(name.encode() + result[name].numpy().tobytes())
    return hashed.hexdigest()


class Everything:
    """All that is trained, from one dataset and one seed."""

    def __init__(self, root: Path, out: Path) -> None:
        self.dataset, self.out = PreparedDataset.open(root / "prepared"), out
        self.config = PipelineConfig.model_validate(CONFIG)
        self.best = PipelineConfig.model_validate(CONFIG | {"model": MODEL | BEST})
        self.digests: dict[str, str] = {}
        self.cf = self.folder("cf")

    def folder(self, name: str) -> Path:
        (self.out / name).mkdir(parents=True)
        return self.out / name

    def tables(self) -> None:
        cross_fit.pretrain(self.dataset, self.best, self.cf, NullReport())
        for name in (cf_tables.FILE, fold_tables.FILE):
            self.digests[name] = digest(read_tensors(self.cf / name))

    def ours(self, name: str, kind: str, config: PipelineConfig) -> None:
        bundle = self.folder(name)
        given = (self.dataset, self.cf, config, self.out / f"{name}-steps", bundle, NullReport())
        if kind == FULL_RANKING:
            train_full_ranking(*given)
            ranks = catalogue.rank_bundle(bundle, self.dataset, "test", config, NullReport())
        else:
            TRAIN[kind](*given)
            ranks = rank_bundle(bundle, self.dataset, "test", config, NullReport())
        self.results(name, bundle, ranks)

    def baseline(self, name: str) -> None:
        system, bundle = BASELINES[name], self.folder(name)
        given = (self.dataset, self.config, self.out / f"{name}-steps", bundle, NullReport())
        baseline.train(system, {}, *given)
        self.results(name, bundle, baseline.rank(bundle, system, self.dataset, "test", self.config, NullReport()))

    def results(self, name: str, bundle: Path, ranks: pa.Table) -> None:
        self.digests[name] = digest(read_tensors(bundle / "model.safetensors"))
        self.digests[f"{name}-ranks"] = digest(ranks)
        validations = json.loads((bundle / "training.json").read_text(encoding="utf-8"))["validations"]
        self.digests[f"{name}-validations"] = repr(validations)
        if (bundle / "gradients.json").is_file():
            self.digests[f"{name}-gradients"] = (bundle / "gradients.json").read_text(encoding="utf-8")

    def critic(self) -> None:
        x = torch.randn(2_000, 40, generator=torch.Generator().manual_seed(1))
        config = critics.CriticConfig(steps=40, seeds=1)
        self.digests["mine"] = repr(critics.estimate("mine", x, critics.fixed(x[:, :1]), config=config))


def main(root: Path, out: Path) -> None:
    torch.set_num_threads(2)
    everything = Everything(root, out)
    everything.tables()
    everything.critic()
    for name, kind in (("gensr", "gensr"), ("two_head", "two_head"), ("full_ranking", FULL_RANKING)):
        everything.ours(name, kind, everything.config)
    everything.ours("gensr-best", "gensr", everything.best)
    everything.ours("two_head-best", "two_head", everything.best)
    for name in BASELINES:
        everything.baseline(name)
    (out / "digests.json").write_text(json.dumps(everything.digests), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
