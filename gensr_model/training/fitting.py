"""Shared steps from a new model to its bundle, for GenSR, the two-head model and full ranking."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from torch import nn

from gensr_model.config.base import TASKS
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.config.training import TrainConfig
from gensr_model.data.prepared import PreparedDataset
from gensr_model.evaluation.metrics import summarize
from gensr_model.models import bundle, user_store
from gensr_model.models.base import ProbedModel
from gensr_model.runtime.files import write_json
from gensr_model.runtime.progress import Report
from gensr_model.training.gradient_probe import task_gradient_cosine
from gensr_model.training.trainer import FitResult, TrainingData, fit, make_accelerator

Ranks = Callable[[bundle.Model], pa.Table]


class TrainingSpec(NamedTuple):
    """How one kind of model is trained."""

    kind: str  # as in ``bundle.assemble``
    settings: TrainConfig
    metric: str  # its mean over the tasks chooses the best weights
    ranks: Ranks  # of the current weights on the fixed validation samples
    gradient_every: int = 0  # steps between cosines of the tasks' gradients; 0: none


def fit_bundle(
    spec: TrainingSpec,
    dataset: PreparedDataset,
    cf_folder: Path,
    config: PipelineConfig,
    checkpoints: Path,
    out: Path,
    report: Report,
) -> dict[str, float]:
    """Train, resuming from ``checkpoints``, and write the bundle of the best weights into ``out``.

    Further files: the data for serving, ``training.json`` (validations, reason of the stop) and ``gradients.json``
    (§6.5, empty without probes).
    """
    accelerator = make_accelerator(spec.settings.precision)
    model, tokenizer = bundle.assemble(spec.kind, dataset, cf_folder, config)
    shard = (accelerator.process_index, accelerator.num_processes)
    data = TrainingData(
        dataset, spec.settings, config.model.max_history, config.seed, shard, tasks=spec.settings.trained_tasks
    )
    gradients = GradientLog(model, data, spec.gradient_every, checkpoints / "gradients", report)
    result = fit(
        model,
        data,
        spec.settings,
        seed=config.seed,
        epochs=spec.settings.epochs,
        folder=checkpoints,
        validate=lambda: validation_metrics(spec.ranks(model), spec.metric),
        report=report,
        probe=gradients,
        accelerator=accelerator,
    )
    if accelerator.is_main_process:
        bundle.save(out, spec.kind, model, tokenizer, dataset, config)
        user_store.save(out, dataset, cf_folder, config.model.max_history)
        write_json(out / "training.json", result.repeatable() | {"chosen_by": spec.metric})
        write_json(out / "gradients.json", gradients.entries())
    accelerator.wait_for_everyone()
    return fit_metrics(spec.metric, model, result)


def fit_metrics(metric: str, model: nn.Module, result: FitResult) -> dict[str, float]:
    """The figures of a finished training, as metrics of its stage."""
    return {
        f"best_valid_{metric}": result.best_metric,
        "steps": float(result.steps),
        "epochs": result.epochs,
        "parameters": float(sum(p.numel() for p in model.parameters())),
        "seconds": result.seconds,
        "resumed_at": float(result.resumed_at),
    }


def validation_metrics(ranks: pa.Table, metric: str) -> dict[str, float]:
    """``task/metric`` of every task with ranks. ``metric`` is the mean of the deciding metric over these tasks."""
    summary = summarize(ranks)
    metrics = {f"{task}/{name}": value for task, row in summary.items() for name, value in row.items()}
    metrics["metric"] = float(np.mean([summary[task][metric] for task in TASKS if task in summary]))
    return metrics


class GradientLog:
    """Cosine between the task gradients every few steps, in one small file per probe that survives a killed run.

    Each probe draws a batch of all history lengths. Training batches hold similar lengths, and some have no history
    whose encoder could have a gradient.
    """

    def __init__(self, model: ProbedModel, data: TrainingData, every: int, folder: Path, report: Report) -> None:
        self.model, self.data, self.every, self.folder, self.report = model, data, every, folder, report

    def __call__(self, step: int) -> None:
        if not self.every or step % self.every:
            return
        parameters = self.model.conflict_parameters()
        batch = self.data.random_batch(step).to(parameters[0].device)
        probe = task_gradient_cosine(self.model, batch, parameters)
        if probe is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / f"{step:08d}.json", {"step": step, **probe._asdict()})
        self.report.metrics({"gradient/cosine": probe.cosine}, step)

    def entries(self) -> list[dict[str, float]]:
        """All probes so far, by step."""
        return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(self.folder.glob("*.json"))]
