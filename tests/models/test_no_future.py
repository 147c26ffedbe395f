"""GenSR, two heads and full ranking know nothing of what happens after a sample; the baselines have their own test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from small_dataset import SMALL_CONFIG, SMALL_MODEL, USERS, write_cf, write_dataset

from gensr_model.config.pipeline import PipelineConfig
from gensr_model.data.batches import BatchBuilder
from gensr_model.data.prepared import PreparedDataset
from gensr_model.evaluation.scoring import score_samples
from gensr_model.models import bundle
from gensr_model.runtime.progress import NullReport
from gensr_model.training.finetune import finetune, train_full_ranking, train_two_head

# Every departure of ``best`` that adds an input, too: none of them may bring the future in.
MODEL = SMALL_MODEL | {
    "text": {"description_tokens": 4},
    "departures": {
        "searches_in_text": {"enabled": True, "leave_one_out": True},
        "interaction": True,
        "query_interaction": True,
    },
}
FULL = {"epochs": 1, "valid_samples": 20, "departures": {"item_vectors": True, "shortcuts": True, "neighbors": 10}}


@pytest.mark.parametrize("train", [finetune, train_two_head, train_full_ranking])
def test_what_happens_after_a_sample_changes_nothing(train: Callable[..., dict[str, float]], tmp_path: Path) -> None:
    dataset, cf = write_dataset(tmp_path / "prepared"), write_cf(tmp_path / "cf")
    brief = {"epochs": 1, "two_head_epochs": 1, "batch_size": 64, "valid_samples": 20}
    sections = {"model": MODEL, "train": brief, "full_ranking": FULL, "analysis": {"gradient_every": 0}}
    config = PipelineConfig.model_validate(SMALL_CONFIG | sections)
    (tmp_path / "out").mkdir()
    train(dataset, cf, config, tmp_path / "steps", tmp_path / "out", NullReport())
    model = bundle.load(tmp_path / "out", dataset.items, dataset.queries).model

    rng = np.random.default_rng(1)
    samples = dataset.samples("train")
    samples = samples.take(rng.permutation(len(samples)))
    samples = samples.take(np.unique(samples.user, return_index=True)[1])  # one per user, not the first
    assert len(samples) == USERS
    assert (samples.history_end > samples.history_start).mean() > 0.5
    assert set(samples.task.tolist()) == {0, 1}
    negatives = rng.integers(dataset.n_items, size=(USERS, 4))

    def scores(of: PreparedDataset) -> np.ndarray:
        return score_samples(model, BatchBuilder(of, 5), samples, negatives, USERS, NullReport())

    events = dataset.events
    end = samples.history_end[np.searchsorted(samples.user, events.user)]
    query = np.where(rng.random(len(events.item)) < 0.5, -1, rng.integers(dataset.n_queries, size=len(events.item)))
    other = rng.integers(dataset.n_items, size=len(events.item))

    def altered(rows: np.ndarray) -> PreparedDataset:
        changed = PreparedDataset.open(dataset.folder)
        changed.__dict__["events"] = events._replace(
            item=np.where(rows, other, events.item),
            behavior=np.where(rows, (query >= 0).astype(np.int64), events.behavior),
            query=np.where(rows, query, events.query),
        )
        return changed

    before, place = scores(dataset), np.arange(len(events.item))
    later = place >= end
    assert 0.2 < later.mean() < 1
    np.testing.assert_array_equal(scores(altered(later)), before)
    assert np.abs(scores(altered(~later)) - before).max() > 1e-4  # the past is read
