"""Baselines over the whole catalogue (§6.3): validation, ranking among all items, and the cost of their ids."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor

from gensr_model.baselines.base import Baseline, BaselineSpec, CatalogueBaseline
from gensr_model.baselines.generator import Generator
from gensr_model.baselines.inputs import BaselineBatch, Collator
from gensr_model.config.base import Split, Task
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.data.prepared import PreparedDataset, Samples
from gensr_model.evaluation.catalogue import CatalogueScorer, rank_catalogue
from gensr_model.evaluation.scoring import fixed_subset
from gensr_model.models.bundle import device_of
from gensr_model.runtime.devices import default_device
from gensr_model.runtime.progress import NullReport, Report
from gensr_model.training.baseline import Loaded, Validation

_SCORED_TOGETHER = 256  # samples
_BEYOND_MET = 20  # places of a beam in addition to one for each item that the user met
_BEAMS_TOGETHER = 4_096  # hypotheses: bounds memory, changes no score
_WEIGHED = 16  # samples per task for the probability of invalid ids


def ranks_catalogue(spec: BaselineSpec) -> bool:
    """Whether a baseline can rank the whole catalogue."""
    return issubclass(spec.model, CatalogueBaseline)


class CatalogueValidation(Validation):
    """Validation among all items of the catalogue."""

    chosen_by = "ndcg_at_10"

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        every = self.dataset.samples("valid")
        self.samples = every.take(fixed_subset(every, self.config.full_ranking.valid_samples, self.tasks))

    def ranks(self) -> pa.Table:
        return _rank(self.model, self.collator, self.dataset, self.samples, self.config, NullReport())


def rank(
    loaded: Loaded, tasks: tuple[Task, ...], dataset: PreparedDataset, split: Split, config: PipelineConfig,
    report: Report,
) -> pa.Table:  # fmt: skip
    """Per-sample ranks of a trained baseline among all items for its tasks."""
    loaded.model.to(default_device())
    every = dataset.samples(split)
    samples = every.take(fixed_subset(every, config.evaluation.max_test_samples, tasks))
    return _rank(*loaded, dataset, samples, config, report)


def _rank(
    model: Baseline, collator: Collator, dataset: PreparedDataset, samples: Samples, config: PipelineConfig,
    report: Report,
) -> pa.Table:  # fmt: skip
    model.eval()
    score = baseline_scorer(model, collator, config.full_ranking.mask_met)
    return rank_catalogue(score, dataset, samples, config.full_ranking, _SCORED_TOGETHER, report)


def baseline_scorer(model: Baseline, collator: Collator, mask_met: bool) -> CatalogueScorer:
    """Scores of every item by a baseline.

    Where an id has several tokens, a constrained beam finds the best items: 20 more than the user may have met. All
    other items score −∞, level with each other. So for metrics at up to 20 only search errors can differ from exact
    likelihoods.
    """
    assert isinstance(model, CatalogueBaseline)
    device, items = device_of(model), collator.domain.n_items

    @torch.inference_mode()
    def score(samples: Samples) -> npt.NDArray[Any]:
        batch = collator.build(samples, samples.item[:, None]).to(device)
        if isinstance(model, Generator) and model.ids.shape[1] > 1:
            met = int((samples.history_end - samples.history_start).max(initial=0)) if mask_met else 0
            scores = _by_beam(model, batch, min(items, _BEYOND_MET + met))
        else:
            scores = model.catalogue_scores(batch)
        values: npt.NDArray[Any] = scores.float().cpu().numpy()
        return values

    return score


def _by_beam(model: Generator, batch: BaselineBatch, beams: int) -> Tensor:
    """(B, I) log-likelihoods of the items that a beam reaches, −∞ for the others."""
    items, parts = len(model.ids), []
    for rows in torch.arange(len(batch.task), device=batch.task.device).split(max(1, _BEAMS_TOGETHER // beams)):
        best = model.generate(batch.take(rows), beams)
        scores = best.scores.new_full((len(rows), items + 1), -torch.inf)  # the last column is no item
        parts.append(scores.scatter_(1, best.items % (items + 1), best.scores)[:, :items])
    return torch.cat(parts)


@torch.inference_mode()
def id_costs(loaded: Loaded, tasks: tuple[Task, ...], dataset: PreparedDataset) -> dict[str, float]:
    """The cost of a generator's ids. Empty for other baselines.

    ``colliding_ids`` is the share of items whose id equals another item's except for the last token. ``invalid_ids`` is
    the mean probability of token sequences that are no item's id, 1 − Σ exp s(i), on some test samples.
    """
    model, collator = loaded
    if not isinstance(model, Generator):
        return {}
    ids, length = model.ids.cpu().numpy().copy(), model.id_lengths.cpu().numpy()
    ids[np.arange(ids.shape[1]) >= length[:, None] - 1] = -1
    _, bucket, size = np.unique(ids, axis=0, return_inverse=True, return_counts=True)
    several = ids.shape[1] > 1  # ids of one token cannot collide
    every = dataset.samples("test")
    samples = every.take(fixed_subset(every, _WEIGHED, tasks))
    batch = collator.build(samples, samples.item[:, None]).to(device_of(model))
    valid = (
        Generator.catalogue_scores(model, batch).double().exp().sum(dim=1)
    )  # BSR's method of the same name gives logits
    return {
        "colliding_ids": float((size[bucket] > 1).mean()) if several else 0.0,
        "invalid_ids": float((1 - valid).clamp(min=0).mean()),
    }
