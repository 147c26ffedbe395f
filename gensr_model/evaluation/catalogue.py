"""Ranking among the whole catalogue (§6.3): tie-averaged counts over all items, without drawn candidates."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from scipy import sparse

from gensr_model.config.base import Split, Task
from gensr_model.config.model import FullRankingConfig, TextConfig
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.data.batches import BatchBuilder
from gensr_model.data.prepared import IntArray, PreparedDataset, Samples
from gensr_model.errors import DataError, NaNScoreError
from gensr_model.evaluation import reference
from gensr_model.evaluation.metrics import RankCounts, counts_table
from gensr_model.evaluation.scoring import fixed_subset
from gensr_model.models import bundle
from gensr_model.models.full_ranking import FullRanking
from gensr_model.runtime.determinism import deterministic
from gensr_model.runtime.devices import default_device
from gensr_model.runtime.progress import Report

_REFERENCE_BATCH = 1_024
SCORES_HELD = 8_000_000  # scores in memory at once; at least one sample's
# (b samples) -> (b, I) scores of every item
CatalogueScorer = Callable[[Samples], npt.NDArray[Any]]


@deterministic()
def rank_catalogue(
    scorer: CatalogueScorer,
    dataset: PreparedDataset,
    samples: Samples,
    config: FullRankingConfig,
    batch_size: int,
    report: Report,
    scores_held: int = SCORES_HELD,
) -> pa.Table:
    """Ranks table of the positives among all items, in the order of `samples`.

    With ``config.mask_met`` the items that the user met before the sample are no candidates. The positive is always
    one. At most ``scores_held`` scores are in memory at once.
    """
    rows_at_once = max(1, min(batch_size, scores_held // dataset.n_items))
    greater, ties, length = (np.empty(len(samples), np.int32) for _ in range(3))
    # Equal queries together are scored once, and similar lengths together need less padding. Scores stay the same.
    order = np.lexsort((samples.history_end - samples.history_start, samples.query, samples.task))
    for start in range(0, len(order), rows_at_once):
        rows = order[start : start + rows_at_once]
        part = samples.take(rows)
        met = reference.met_before(dataset, part) if config.mask_met else None
        counts, length[rows] = catalogue_counts(scorer(part), part.item, met)
        greater[rows], ties[rows] = counts
        report.progress(start + len(rows), len(order), "ranking the catalogue")
    return counts_table(samples.sample_id, samples.task_names, RankCounts(greater, ties), length)


def catalogue_counts(
    scores: npt.NDArray[Any], target: IntArray, met: sparse.csr_array | None
) -> tuple[RankCounts, npt.NDArray[np.int32]]:
    """(b,) items above each target, (b,) items level with it, and (b,) ranked items, from scores (b, I).

    Items in `met` (b, I) are left out, except the target. Raises NaNScoreError for a NaN score.
    """
    row = np.arange(len(target))
    left_out = np.zeros(scores.shape, bool) if met is None else met.toarray() != 0
    left_out[row, target] = False
    if (np.isnan(scores) & ~left_out).any():
        raise NaNScoreError(
            "a score is NaN. The model has diverged or read a damaged file: lower its learning rate, or train it again."
        )
    positive = scores[row, target][:, None]
    greater = ((scores > positive) & ~left_out).sum(axis=1)
    level = ((scores == positive) & ~left_out).sum(axis=1) - 1  # without the target itself
    ranked = scores.shape[1] - left_out.sum(axis=1)
    return RankCounts(greater.astype(np.int32), level.astype(np.int32)), ranked.astype(np.int32)


def model_scorer(model: FullRanking, dataset: PreparedDataset) -> CatalogueScorer:
    """Scores of a full-ranking model. Unknown items score −∞."""
    builder = BatchBuilder(dataset, model.config.max_history)
    device = bundle.device_of(model)

    @torch.inference_mode()
    def score(samples: Samples) -> npt.NDArray[Any]:
        batch = builder.build(samples, samples.item[:, None]).to(device)
        scores: npt.NDArray[Any] = model.catalogue_scores(batch).float().cpu().numpy()
        return scores

    return score


def reference_scorer(
    name: str, dataset: PreparedDataset, samples: Samples, cf_folder: Path, text: TextConfig
) -> CatalogueScorer:
    """A reference ranker over the whole catalogue, for `samples` or any part of them.

    Raises ConfigError for an unknown name, or where a text ranker gets a sample without a query.
    """
    if name == "lightgcn":  # one matrix product instead of gathering every item for every sample
        by_user = reference.light_gcn(dataset, cf_folder)
        return lambda part: by_user(part, None)
    by_list = reference.reference_scorer(name, dataset, samples, cf_folder, text)
    every = np.arange(dataset.n_items)
    if name not in reference.BY_QUERY_ALONE:
        return lambda part: by_list(part, np.tile(every, (len(part), 1)))

    def score(part: Samples) -> npt.NDArray[Any]:
        _, first, row = np.unique(part.query, return_index=True, return_inverse=True)
        scores: npt.NDArray[Any] = by_list(part.take(first), np.tile(every, (len(first), 1)))[row]
        return scores

    return score


def rank_bundle(
    folder: Path, dataset: PreparedDataset, split: Split, config: PipelineConfig, report: Report
) -> pa.Table:
    """Ranks of a full-ranking bundle among all items, matched by raw id. A task without training has no rows.

    The table's metadata holds ``unknown_item_share``, the share of the dataset's items that training did not have.

    Raises:
        DataError: the bundle holds a model that ranks candidates.
    """
    loaded = bundle.load(folder, dataset.items, dataset.queries)
    model = loaded.model
    if not isinstance(model, FullRanking):
        raise DataError(
            f"{folder}: a {type(model).__name__} ranks given candidates, not the catalogue. Give the "
            "bundle of a full-ranking model."
        )
    model.to(default_device())
    samples = _evaluated(dataset, split, config, config.train.trained_tasks)
    scorer = model_scorer(model, dataset)
    ranks = rank_catalogue(scorer, dataset, samples, config.full_ranking, config.evaluation.batch_size, report)
    return ranks.replace_schema_metadata({"unknown_item_share": repr(loaded.unknown_item_share)})


def rank_reference(
    name: str, dataset: PreparedDataset, split: Split, cf_folder: Path, config: PipelineConfig, report: Report
) -> pa.Table:
    """Ranks of a reference ranker among all items. A text ranker has rows only for samples with a query."""
    samples = _evaluated(dataset, split, config, config.train.trained_tasks)
    if name in reference.NEEDS_QUERY:
        samples = samples.take(np.flatnonzero(samples.query >= 0))
    scorer = reference_scorer(name, dataset, samples, cf_folder, config.model.text)
    return rank_catalogue(scorer, dataset, samples, config.full_ranking, _REFERENCE_BATCH, report)


def _evaluated(dataset: PreparedDataset, split: Split, config: PipelineConfig, tasks: Collection[Task]) -> Samples:
    every = dataset.samples(split)
    return every.take(fixed_subset(every, config.evaluation.max_test_samples, tasks))
