"""SASRec on Beauty with one loss, with histories by position or strict ones. Settings were chosen on Beauty's valid."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.published.protocol import PUBLISHED, Histories, Row, catalogue_metrics, rounded, state_folder
from gensr_model.baselines.inputs import Collator
from gensr_model.baselines.registry import BASELINES
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.data.prepared import PreparedDataset
from gensr_model.runtime.progress import NullReport
from gensr_model.training import baseline, tuning
from gensr_model.training.trainer import TrainingData, fit

MAX_HISTORY = 50
POINTS: dict[str, tuning.Point] = {
    "bce": {"loss": "bce", "negatives": 1, "learning_rate": 1e-3, "batch_size": 256, "dropout": 0.5},
    "catalogue": {"loss": "catalogue", "negatives": 1, "learning_rate": 1e-3, "batch_size": 512, "dropout": 0.5},
}


def settings_of(loss: str, histories: Histories) -> dict[str, Any]:
    """The settings that identify a training, without its epochs."""
    return POINTS[loss] | {"histories": histories}


def measure(loss: str, histories: Histories, dataset: PreparedDataset, epochs: int, state: Path) -> Row:
    """Train with early stop on valid NDCG@10 over the catalogue, and rank the test split once.

    Continues from the checkpoint under ``state``; CPU seconds are those of the last start.
    """
    config, spec, begun = PipelineConfig(), BASELINES["sasrec"], time.process_time()
    masks, settings = PUBLISHED[loss].masks, settings_of(loss, histories)
    collator = Collator(dataset, spec.reads, MAX_HISTORY, None)
    torch.manual_seed(config.seed)
    model = baseline.build(spec, POINTS[loss], collator)
    training = baseline.training_settings(config, POINTS[loss]).model_copy(update={"patience": 8})
    data = TrainingData(dataset, training, MAX_HISTORY, config.seed, builder=collator, tasks=spec.tasks, min_history=1)

    def validate() -> dict[str, float]:
        valid = catalogue_metrics(model, collator, dataset, "valid", masks)
        print(json.dumps(rounded(valid)), f"{time.process_time() - begun:.0f} s", flush=True)
        return {**valid, "metric": valid["ndcg_at_10"]}

    result = fit(
        model, data, training, seed=config.seed, epochs=epochs, validate=validate, report=NullReport(),
        folder=state_folder(state, "sasrec", settings | {"epochs": epochs}),
    )  # fmt: skip
    measured = {split: catalogue_metrics(model, collator, dataset, split, masks) for split in ("valid", "test")}
    return {
        "system": "sasrec", "of": loss, "settings": settings, "budget": epochs, "epochs": round(result.epochs),
        "steps": result.steps, "stopped": result.stopped, "cpu_s": round(time.process_time() - begun), **measured,
    }  # fmt: skip
