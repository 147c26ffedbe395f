"""Trains models without dropout, in one process or as one of several, and writes down what every step costs."""

from __future__ import annotations

import atexit
import json
import os
from pathlib import Path
from typing import Any

from gensr_model.baselines.registry import BASELINES
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.data.prepared import PreparedDataset
from gensr_model.runtime import distributed
from gensr_model.runtime.progress import Report
from gensr_model.training import baseline, finetune, trainer

CONFIG: dict[str, Any] = {
    "preset": "laptop",
    "model": {
        "max_history": 5,
        "text": {"description_tokens": 4},
        "backbone": {"vocab_size": 120, "d_model": 16, "d_kv": 8, "d_ff": 32, "heads": 2, "encoder_layers": 1,
                     "dropout": 0.0},
        "view_heads": 2,
        "view_dropout": 0.0,
        "beta": 1.0,
    },
    # Odd batches, so that the processes' parts differ in size; the last batch of an epoch has 7 samples.
    "train": {"epochs": 2, "two_head_epochs": 2, "batch_size": 33, "accumulation": 2, "valid_samples": 20},
    "full_ranking": {"epochs": 2, "batch_size": 33, "valid_samples": 20},
    "rerank": {"epochs": 2, "batch_size": 33},
    "analysis": {"gradient_every": 4},
}  # fmt: skip
GENSR = {
    "gensr": finetune.finetune,
    "listwise": finetune.finetune,
    "two_head": finetune.train_two_head,
    "full_ranking": finetune.train_full_ranking,
}
# One loss per sample; two alignments of the samples of a batch; a loss of whole batches, in four phases.
BASELINES_TO_TRAIN = ("sasrec", "unisar", "sesrec", "genret")
KINDS = (*GENSR, *BASELINES_TO_TRAIN)


def train(
    report: Report, root: str, kinds: list[str], out: str, overrides: dict[str, Any] | None = None
) -> dict[str, float]:
    """Train the ``kinds`` one after the other. ROOT has prepared/ and cf/, and OUT gets a folder for each kind."""
    if "RANK" in os.environ:
        atexit.register(_write_group, Path(out))  # what is registered first runs last
    resumed = {f"{kind}_resumed_at": _train(Path(root), kind, Path(out) / kind, report, overrides) for kind in kinds}
    return {"processes": float(distributed.processes()), **resumed}


def _write_group(out: Path) -> None:
    """Whether the group of processes is still there when the interpreter ends."""
    (out / f"group-{os.environ['RANK']}.json").write_text(json.dumps(distributed.processes() > 1), "utf-8")


def _train(root: Path, kind: str, out: Path, report: Report, overrides: dict[str, Any] | None) -> float:
    steps: list[dict[str, float]] = []
    real = trainer.train_step

    def step(*given: Any) -> dict[str, float]:
        steps.append(real(*given))
        return steps[-1]

    out.mkdir(parents=True, exist_ok=True)
    dataset = PreparedDataset.open(root / "prepared")
    loss = {"model": {"answer_loss": kind}} if kind == "listwise" else {}
    config = PipelineConfig.model_validate(CONFIG | {"overrides": overrides or loss})
    trainer.train_step = step
    try:
        if kind in GENSR:
            metrics = GENSR[kind](dataset, root / "cf", config, out / "steps", out, report)
        else:
            point = {"dropout": 0.0}
            metrics = baseline.train(BASELINES[kind], point, dataset, config, out / "steps", out, report)
    finally:
        trainer.train_step = real
    rank, processes = distributed.shard()
    (out / f"curve-{rank}.json").write_text(json.dumps({"processes": processes, "steps": steps}), encoding="utf-8")
    return metrics["resumed_at"]
