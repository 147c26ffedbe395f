"""The table of full ranking: all systems that can rank the whole catalogue, validated on it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from gensr_model.baselines.registry import BASELINES
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.data.prepared import PreparedDataset
from gensr_model.evaluation.evaluate import write_ranks
from gensr_model.evaluation.reference import REFERENCES
from gensr_model.reporting.run_facts import FULL_TABLE, RERANK
from gensr_model.training import baseline as training
from gensr_model.training import over_catalogue
from gensr_model.training.over_catalogue import CatalogueValidation
from tasks.compare.baselines import RERANKED, SystemTable, train_baseline, tune_baseline
from tasks.compare.names import OURS, find_baseline
from tasks.core.stage import StageResult
from tasks.core.tracking import Tracked
from tasks.core.work import Work
from tasks.train.full_ranking import finetune_full, rank_full, rank_full_reference


def tune_full(work: Work, config: PipelineConfig, prepared: Path, *rest: Any) -> dict[str, float]:
    """Tune as ``tune_baseline`` does, with validation on the whole catalogue."""
    return tune_baseline(work, config, prepared, *rest, validation=CatalogueValidation)


def train_full(work: Work, config: PipelineConfig, prepared: Path, *rest: Any) -> dict[str, float]:
    """Train as ``train_baseline`` does, with validation on the whole catalogue."""
    return train_baseline(work, config, prepared, *rest, validation=CatalogueValidation)


def rank_full_baseline(work: Work, config: PipelineConfig, prepared: Path, bundle: Path, name: str) -> dict[str, float]:
    """Reads the prepared dataset and a baseline's bundle; writes the test positives' ranks among all items.

    Its metrics include the cost of a generator's ids.
    """
    began = time.monotonic()
    dataset = PreparedDataset.open(prepared)
    spec = find_baseline(name)
    loaded = training.load(bundle, spec, dataset)
    ranks = over_catalogue.rank(loaded, spec.tasks, dataset, "test", config, work.report)
    figures = {"seconds_to_score": time.monotonic() - began, "items": float(dataset.n_items)}
    return write_ranks(work.out, ranks) | figures | over_catalogue.id_costs(loaded, spec.tasks, dataset)


def every_system() -> tuple[str, ...]:
    """Names of all systems of the table."""
    return (*REFERENCES, *(name for name in BASELINES if takes(name)), "gensr")


def takes(name: str) -> bool:
    """Whether a system can rank the whole catalogue."""
    return (
        name in REFERENCES
        or name == "gensr"
        or (name != "two_head" and over_catalogue.ranks_catalogue(find_baseline(name)))
    )


def _finetune(run: Tracked, config: PipelineConfig, *inputs: StageResult, option: str, **how: Any) -> StageResult:
    del option  # it is GenSR
    return finetune_full(run, config, *inputs, **how)


FULL_RANKED = SystemTable(
    suffix="-full",
    tune=tune_full,
    train=train_full,
    rank=rank_full_baseline,
    chosen_by=("full_ranking.valid_samples", "full_ranking.mask_met"),
    ranked_by=("full_ranking.mask_met", "evaluation.max_test_samples"),
    ours={"gensr": OURS["gensr"]},
    trial=("full_ranking.epochs",),
    metric="best_valid_ndcg_at_10",
    finetune=_finetune,
    rank_ours=rank_full,
    rank_reference=rank_full_reference,
    every=every_system,
    takes=takes,
)
TABLES = {RERANK: RERANKED, FULL_TABLE: FULL_RANKED}  # by the name of the study
