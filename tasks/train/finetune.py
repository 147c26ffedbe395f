"""Stage 6: fine-tune GenSR or the two-head model, from the last checkpoint if there is one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gensr_model.config.pipeline import PipelineConfig
from gensr_model.data.prepared import PreparedDataset
from gensr_model.training import finetune as training
from tasks.core.stage import stage
from tasks.core.work import Work
from tasks.evaluate.rank import OTHER_MODELS

MODELS = tuple(training.TRAIN)


def how_it_ended(folder: Path) -> dict[str, Any]:
    """Steps, epochs, best validation metric and reason of the stop, from a finished stage's folder."""
    result = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    facts = {name: result[name] for name in ("steps", "epochs", "best_metric", "stopped")}
    return facts | {"chosen_by": result.get("chosen_by", "ndcg_at_5")}  # a file from an older version has none


@stage(
    "finetune",
    config=(
        "model",
        "train",
        "seed",
        "analysis.gradient_every",
        "evaluation.protocol",
        "evaluation.batch_size",
        "evaluation.precision",
    ),
    artifacts=("*.json",),
    tags=lambda folder: {"stopped": how_it_ended(folder)["stopped"]},
    unread={"gensr": ("train.two_head_epochs", "train.two_head_gamma"), "two_head": ("train.epochs",)},
    skip={
        "gensr": (*OTHER_MODELS["gensr"], training.train_two_head),
        "two_head": (*OTHER_MODELS["two_head"], training.finetune),
    },
    splits=("train", "valid"),
    trains=True,
)
def finetune(work: Work, config: PipelineConfig, prepared: Path, cf: Path, model: str) -> dict[str, float]:
    """Reads the prepared dataset and the LightGCN table; writes the model bundle."""
    dataset = PreparedDataset.open(prepared)
    return training.TRAIN[model](dataset, cf, config, work.checkpoints, work.out, work.report)
