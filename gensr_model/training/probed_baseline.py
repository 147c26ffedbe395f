"""Train a baseline of both tasks and probe along the way whether its tasks' gradients agree (§6.5), as GenSR's are
probed.

Beside ``training/baseline.py``, not in it: the text of that file decides whether a trained baseline is used again,
and what only some baselines need shall train no other one anew.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from gensr_model.baselines.base import Baseline, BaselineSpec
from gensr_model.baselines.inputs import READS_WORDS, TEXT, Collator
from gensr_model.baselines.words import Lexicon
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.data.prepared import PreparedDataset
from gensr_model.runtime.files import write_json
from gensr_model.runtime.progress import Report
from gensr_model.training import baseline, tuning
from gensr_model.training.fitting import GradientLog
from gensr_model.training.trainer import TrainingData, fit, make_accelerator


def can_be_probed(model: type[Baseline]) -> bool:
    """Whether a baseline has what the probe asks for: ``task_losses(batch)`` and ``conflict_parameters()``."""
    return hasattr(model, "task_losses") and hasattr(model, "conflict_parameters")


def train(
    system: BaselineSpec,
    point: tuning.Point,
    dataset: PreparedDataset,
    config: PipelineConfig,
    checkpoints: Path,
    out: Path,
    report: Report,
) -> dict[str, float]:
    """Train as ``baseline.train`` does, to the same weights, with a probe every ``analysis.gradient_every`` steps.

    Beside what ``baseline.train`` writes: ``gradients.json``, empty without probes. Continues from ``checkpoints``.
    """
    lexicon = None
    if system.reads & READS_WORDS:
        lexicon = Lexicon.build(dataset, config.model.text if TEXT in system.reads else None)
    collator = Collator(dataset, system.reads, config.model.max_history, lexicon)
    torch.manual_seed(config.seed)
    model = baseline.build(system, point, collator)
    probed: Any = model  # a Baseline need not have what ``can_be_probed`` asks for
    settings = baseline.training_settings(config, point)
    data = TrainingData(
        dataset,
        settings,
        collator.max_history,
        config.seed,
        builder=collator,
        tasks=system.tasks,
        by_length=not system.model.fixed_length,
    )
    gradients = GradientLog(probed, data, config.analysis.gradient_every, checkpoints / "gradients", report)
    result = fit(
        model,
        data,
        settings,
        seed=config.seed,
        epochs=config.rerank.epochs,
        folder=checkpoints,
        validate=baseline.Validation(model, dataset, collator, system.tasks, config),
        report=report,
        probe=gradients,
        accelerator=make_accelerator(settings.precision),
    )
    baseline.save(out, system, point, model, dataset, lexicon, collator.max_history)
    write_json(out / "training.json", result._asdict() | {"point": point})
    write_json(out / "gradients.json", gradients.entries())
    return {
        "best_valid_ndcg_at_5": result.best_metric,
        "steps": float(result.steps),
        "epochs": result.epochs,
        "parameters": float(sum(p.numel() for p in model.parameters())),
        "seconds": result.seconds,
        "resumed_at": float(result.resumed_at),
    }
