"""Full ranking (§6.3): train GenSR to generate items, and rank the whole catalogue."""

from __future__ import annotations

import time
from pathlib import Path

from gensr_model.config.pipeline import PipelineConfig
from gensr_model.data.prepared import PreparedDataset
from gensr_model.evaluation import catalogue
from gensr_model.evaluation.evaluate import write_ranks
from gensr_model.training.finetune import train_full_ranking
from tasks.core.stage import stage
from tasks.core.work import Work
from tasks.evaluate.rank import OTHER_MODELS
from tasks.train.finetune import how_it_ended

# `full_ranking` has the first four fields too.
_UNREAD = ("epochs", "batch_size", "negatives", "valid_samples", "two_head_epochs", "two_head_gamma")


@stage(
    "finetune-full",
    config=("model", "train", "full_ranking", "seed", "evaluation.batch_size"),
    artifacts=("*.json",),
    tags=lambda folder: {"stopped": how_it_ended(folder)["stopped"]},
    unread={"": tuple(f"train.{name}" for name in _UNREAD)},
    skip={"": OTHER_MODELS["full_ranking"]},
    splits=("train", "valid"),
    trains=True,
)
def finetune_full(work: Work, config: PipelineConfig, prepared: Path, cf: Path) -> dict[str, float]:
    """Reads the prepared dataset and the LightGCN table; writes the bundle of a model that generates items."""
    dataset = PreparedDataset.open(prepared)
    return train_full_ranking(dataset, cf, config, work.checkpoints, work.out, work.report)


@stage(
    "evaluate-full",
    config=("evaluation.batch_size", "evaluation.max_test_samples", "full_ranking.mask_met", "train.tasks"),
    artifacts=("*",),
    skip={"": OTHER_MODELS["full_ranking"]},
    splits=("test",),
)
def rank_full(work: Work, config: PipelineConfig, prepared: Path, bundle: Path, name: str) -> dict[str, float]:
    """Reads the prepared dataset and a bundle; writes the rank of every test positive among all items."""
    del name  # only distinguishes runs
    began = time.monotonic()
    dataset = PreparedDataset.open(prepared)
    ranks = catalogue.rank_bundle(bundle, dataset, "test", config, work.report)
    figures = {"seconds_to_score": time.monotonic() - began, "items": float(dataset.n_items)}
    return write_ranks(work.out, ranks) | figures


@stage(
    "evaluate-full",
    config=("evaluation.max_test_samples", "full_ranking.mask_met", "model.text", "train.tasks"),
    artifacts=("*",),
    splits=("test",),
)
def rank_full_reference(work: Work, config: PipelineConfig, prepared: Path, cf: Path, name: str) -> dict[str, float]:
    """Reads the prepared dataset and the LightGCN table; writes the ranks of a reference among all items."""
    dataset = PreparedDataset.open(prepared)
    ranks = catalogue.rank_reference(name, dataset, "test", cf, config, work.report)
    return write_ranks(work.out, ranks) | {"items": float(dataset.n_items)}
