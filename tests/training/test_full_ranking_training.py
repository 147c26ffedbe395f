"""Full ranking trained, saved, loaded and ranked on the small dataset, beside the reference rankers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest
import torch
from scipy import sparse
from small_dataset import ITEMS, SMALL_CONFIG, SMALL_MODEL, USERS, write_cf, write_dataset

from gensr_model.config.pipeline import PipelineConfig
from gensr_model.data.batches import BatchBuilder
from gensr_model.data.prepared import BEHAVIORS, Samples
from gensr_model.errors import DataError
from gensr_model.evaluation import catalogue
from gensr_model.evaluation.metrics import RANKS_SCHEMA, rank_counts, summarize
from gensr_model.evaluation.reference import NEEDS_QUERY, REFERENCES, reference_scores
from gensr_model.models import bundle
from gensr_model.models.full_ranking import FullRanking
from gensr_model.models.user_store import Store
from gensr_model.runtime.progress import NullReport
from gensr_model.serving.ranker import Ranker
from gensr_model.training import checkpoint
from gensr_model.training.finetune import train_full_ranking

EXTRA = {"item_vectors": True, "shortcuts": True, "neighbors": 10}


class Small:
    def __init__(self, root: Path, departures: dict[str, object]) -> None:
        torch.set_num_threads(1)
        self.dataset, self.cf = write_dataset(root / "prepared"), write_cf(root / "cf")
        self.config = PipelineConfig.model_validate(
            SMALL_CONFIG
            | {
                "model": SMALL_MODEL | {"backbone": SMALL_MODEL["backbone"] | {"encoder_layers": 2}},
                "train": {"learning_rate": 1e-2, "patience": 100},
                "full_ranking": {
                    "epochs": 5 if departures else 20, "batch_size": 64, "valid_samples": 40, "departures": departures
                },
                "evaluation": {"batch_size": 16},
            }
        )  # fmt: skip
        self.bundle = root / "bundle"
        self.bundle.mkdir()
        self.steps = root / "steps"
        self.metrics = self.train()

    def train(self) -> dict[str, float]:
        return train_full_ranking(self.dataset, self.cf, self.config, self.steps, self.bundle, NullReport())


@pytest.fixture(scope="module", params=[{}, EXTRA], ids=["tokens", "vectors"])
def small(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Small:
    return Small(tmp_path_factory.mktemp("full"), request.param)


def scores_of(small: Small, samples: Samples) -> np.ndarray:
    model = bundle.load(small.bundle, small.dataset.items, small.dataset.queries).model
    assert isinstance(model, FullRanking)
    batch = BatchBuilder(small.dataset, 5).build(samples, samples.item[:, None])
    with torch.inference_mode():
        return model.catalogue_scores(batch).numpy()


def test_it_learns_what_a_query_says(small: Small) -> None:
    """A query names the room of its item, and ten items share it: whoever reads the query has them in ten."""
    ranks = catalogue.rank_bundle(small.bundle, small.dataset, "test", small.config, NullReport())
    assert ranks.schema.equals(RANKS_SCHEMA)
    assert ranks["sample_id"].to_pylist() == small.dataset.samples("test").sample_id.tolist()
    result = summarize(ranks)
    assert result["search"]["recall_at_10"] > 0.8
    assert result["search"]["recall_at_10"] > result["recommendation"]["recall_at_10"] + 0.3
    assert small.metrics["best_valid_ndcg_at_10"] > 0.2
    assert len(Store(small.bundle)) == USERS, "what serving needs lies in the bundle"
    assert json.loads((small.bundle / "gradients.json").read_text(encoding="utf-8")) == []


def test_a_loaded_bundle_scores_as_the_trained_model(small: Small) -> None:
    model, _ = bundle.assemble("full_ranking", small.dataset, small.cf, small.config)
    assert isinstance(model, FullRanking)
    checkpoint.load_best(small.steps, model)
    samples = small.dataset.samples("test").take(np.arange(9))
    batch = BatchBuilder(small.dataset, 5).build(samples, samples.item[:, None])
    with torch.inference_mode():
        expected = model.eval().catalogue_scores(batch).numpy()
    np.testing.assert_array_equal(scores_of(small, samples), expected)


def test_items_are_matched_by_raw_id_in_another_catalogue(small: Small) -> None:
    model = bundle.load(small.bundle, small.dataset.items.take([5, 0, 7]), small.dataset.queries).model
    assert isinstance(model, FullRanking)
    assert model.known.tolist() == [5, 0, 7]
    renamed = small.dataset.items.slice(0, 2).set_column(1, "raw_id", [["new", "i1"]])
    assert bundle.load(small.bundle, renamed).model.known.tolist() == [-1, 1]


def test_a_served_model_ranks_as_in_evaluation(small: Small) -> None:
    """One request has the queries of one sample, whose query then has another number."""
    ranker, raw = Ranker.load(small.bundle), bundle.item_ids(small.bundle)
    samples = small.dataset.samples("test")
    for row in (0, len(samples) - 1):
        sample = samples.take(np.array([row]))
        events = range(int(sample.history_start[0]), int(sample.history_end[0]))
        history = [raw[small.dataset.events.item[event]] for event in events]
        behaviors = [BEHAVIORS[small.dataset.events.behavior[event]] for event in events]
        query = None if sample.query[0] < 0 else small.dataset.queries[sample.query[0]]
        best = ranker.rank_catalogue(history, query, 5, behaviors)
        scores = scores_of(small, sample)[0]
        left_out = set() if query else set(history)
        expected = [raw[item] for item in np.argsort(-scores, kind="stable") if raw[item] not in left_out]
        assert [item for item, _ in best] == expected[:5]
    assert set(samples.task[[0, -1]].tolist()) == {0, 1}


def test_a_finished_training_is_not_repeated(small: Small) -> None:
    weights = (small.bundle / "model.safetensors").read_bytes()
    again = small.train()
    assert again["resumed_at"] == again["steps"] == small.metrics["steps"]
    assert (small.bundle / "model.safetensors").read_bytes() == weights


@pytest.mark.parametrize("mask_met", [True, False])
@pytest.mark.parametrize("held", [1, 300, 8_000_000])
def test_ranks_are_counted_among_all_items_not_met(small: Small, mask_met: bool, held: int) -> None:
    samples = small.dataset.samples("test")
    config = small.config.full_ranking.model_copy(update={"mask_met": mask_met})
    rng = np.random.default_rng(0)
    every = rng.integers(6, size=(len(samples), ITEMS)).astype(float)  # many ties
    row_of = {name: row for row, name in enumerate(samples.sample_id)}
    largest = 0

    def scorer(part: Samples) -> np.ndarray:
        nonlocal largest
        largest = max(largest, len(part))
        return every[[row_of[name] for name in part.sample_id]]

    result = catalogue.rank_catalogue(scorer, small.dataset, samples, config, 64, NullReport(), held)
    assert largest == max(1, min(64, held // ITEMS))
    for row in range(len(samples)):
        met = set(small.dataset.events.item[samples.history_start[row] : samples.history_end[row]].tolist())
        target = int(samples.item[row])
        ranked = [i for i in range(ITEMS) if i != target and not (mask_met and i in met)]
        counts = rank_counts(every[row][None, [target, *ranked]])
        assert result["greater"][row].as_py() == counts.greater[0]
        assert result["ties"][row].as_py() == counts.ties[0]
        assert result["candidates"][row].as_py() == len(ranked) + 1


def test_a_positive_that_was_met_before_is_ranked_and_level_infinities_are_ties() -> None:
    scores = np.array([[1.0, 3.0, 3.0, 2.0], [-np.inf, -np.inf, 0.0, -np.inf]])
    met = sparse.csr_array(np.array([[0.0, 1.0, 1.0, 0.0], [0.0, 1.0, 0.0, 0.0]]))
    counts, ranked = catalogue.catalogue_counts(scores, np.array([1, 0]), met)
    assert (counts.greater.tolist(), counts.ties.tolist()) == ([0, 1], [0, 1])
    assert ranked.tolist() == [3, 3]
    scores[0, 2] = np.nan  # met: nobody asks
    catalogue.catalogue_counts(scores, np.array([1, 0]), met)
    with pytest.raises(DataError, match="NaN"):
        catalogue.catalogue_counts(scores, np.array([1, 0]), None)


@pytest.mark.parametrize("name", REFERENCES)
def test_references_score_an_item_of_the_catalogue_as_they_score_it_as_a_candidate(small: Small, name: str) -> None:
    samples = small.dataset.samples("test")
    if name in NEEDS_QUERY:
        samples = samples.take(np.flatnonzero(samples.query >= 0))
    text = small.config.model.text
    lists = np.random.default_rng(1).integers(ITEMS, size=(len(samples), 12))
    expected = reference_scores(name, small.dataset, samples, lists, small.cf, text)
    scorer = catalogue.reference_scorer(name, small.dataset, samples, small.cf, text)
    result = scorer(samples)
    assert result.shape == (len(samples), ITEMS)
    listed = np.take_along_axis(result, np.concatenate([samples.item[:, None], lists], axis=1), axis=1)
    np.testing.assert_allclose(listed, expected, rtol=1e-5, atol=1e-6)
    ranks = catalogue.rank_reference(name, small.dataset, "test", small.cf, small.config, NullReport())
    assert ranks.num_rows == len(samples)
    assert pc.max(ranks["candidates"]).as_py() <= ITEMS


def test_a_model_that_ranks_candidates_is_refused(small: Small, tmp_path: Path) -> None:
    model, tokenizer = bundle.assemble("gensr", small.dataset, small.cf, small.config)
    bundle.save(tmp_path, "gensr", model, tokenizer, small.dataset, small.config)
    with pytest.raises(DataError, match="GenSR ranks given candidates"):
        catalogue.rank_bundle(tmp_path, small.dataset, "test", small.config, NullReport())
