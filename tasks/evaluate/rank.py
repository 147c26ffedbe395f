"""Stage 7: the rank of every test positive among its frozen candidates, one file per model.

A sweep ranks the validation positives that chose the weights.
"""

from __future__ import annotations

import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from gensr_model.config.pipeline import PipelineConfig
from gensr_model.data.prepared import PreparedDataset
from gensr_model.evaluation import evaluate
from gensr_model.models.full_ranking import FullRanking
from gensr_model.models.gensr import DualViewT5, GenSR
from gensr_model.models.known_pairs import KnownPairs
from gensr_model.models.two_head import TwoHead
from gensr_model.models.view_ranking import ViewRanking
from tasks.core.code_version import Code
from tasks.core.stage import StageResult, stage
from tasks.core.work import Work

_FULL: Code = (FullRanking, ViewRanking, KnownPairs)
# For each model name, the classes that do not read its bundle.
OTHER_MODELS: dict[str, Code] = {
    "gensr": (TwoHead, *_FULL),
    "two_head": (DualViewT5, GenSR, *_FULL),
    "full_ranking": (TwoHead, GenSR),
}


@stage(
    "evaluate",
    config=("evaluation.protocol", "evaluation.max_test_samples", "model.text", "train.tasks"),
    artifacts=("*",),
    splits=("test",),
)
def rank_reference(work: Work, config: PipelineConfig, prepared: Path, cf: Path, name: str) -> dict[str, float]:
    """Reads the prepared dataset and the LightGCN table; writes the ranks of one reference ranker."""
    return evaluate.write_ranks(
        work.out, evaluate.rank_reference(name, PreparedDataset.open(prepared), "test", cf, config)
    )


@stage(
    "evaluate",
    config=("evaluation", "train.tasks", "train.compile"),
    artifacts=("*",),
    skip=OTHER_MODELS,
    splits=("test",),
)
def rank_model(work: Work, config: PipelineConfig, prepared: Path, bundle: Path, name: str) -> dict[str, float]:
    """Reads the prepared dataset and a model bundle; writes the model's ranks, with items matched by raw id."""
    del name  # only distinguishes runs
    began = time.monotonic()
    ranks = evaluate.rank_bundle(bundle, PreparedDataset.open(prepared), "test", config, work.report)
    return evaluate.write_ranks(work.out, ranks) | {"seconds_to_score": time.monotonic() - began}


@stage(
    "rank-valid",
    config=("evaluation", "train.tasks", "train.compile", "train.valid_samples"),
    artifacts=("*",),
    unread={"gensr": ("evaluation.max_test_samples",)},
    skip=OTHER_MODELS,
    splits=("valid",),
)
def rank_valid(work: Work, config: PipelineConfig, prepared: Path, bundle: Path, name: str) -> dict[str, float]:
    """Rank as ``rank_model`` does, on the validation samples that chose the weights. Test samples are not read."""
    del name
    return evaluate.write_ranks(
        work.out, evaluate.rank_bundle(bundle, PreparedDataset.open(prepared), "valid", config, work.report)
    )


def read_ranks(result: StageResult) -> pa.Table:
    """The per-sample ranks of an evaluation."""
    return pq.read_table(result.path / evaluate.RANKS)
