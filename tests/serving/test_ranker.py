"""Ranking by raw item ids from a bundle: what counts as history, what is an error, and another catalogue."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from small_dataset import ITEMS, SMALL_CONFIG, SMALL_MODEL, write_cf, write_dataset

from gensr_model.config.pipeline import PipelineConfig
from gensr_model.data.batches import BatchBuilder
from gensr_model.data.prepared import BEHAVIORS, PreparedDataset
from gensr_model.errors import DataError
from gensr_model.evaluation.scoring import score_samples
from gensr_model.models import bundle
from gensr_model.runtime.progress import NullReport
from gensr_model.serving import ranker as ranker_module
from gensr_model.serving.ranker import Ranker

MAX_HISTORY, MAX_QUERY = 5, 4
CANDIDATES = ["i4", "i9", "i17", "i25", "i39"]
MODEL = SMALL_MODEL | {"max_history": MAX_HISTORY, "max_query_tokens": MAX_QUERY}


class World:
    """A dataset and an untrained bundle of each kind of model."""

    def __init__(self, root: Path) -> None:
        self.dataset: PreparedDataset = write_dataset(root / "prepared")
        cf, config = write_cf(root / "cf"), PipelineConfig.model_validate(SMALL_CONFIG | {"model": MODEL})
        self.folders = {kind: root / kind for kind in ("gensr", "two_head")}
        for kind, folder in self.folders.items():
            folder.mkdir()
            model, tokenizer = bundle.assemble(kind, self.dataset, cf, config)
            bundle.save(folder, kind, model, tokenizer, self.dataset, config)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("ranker"))


@pytest.fixture(scope="module")
def ranker(world: World) -> Ranker:
    return Ranker.load(world.folders["gensr"])


@pytest.mark.parametrize("kind", ["gensr", "two_head"])
def test_scores_are_those_of_the_evaluation(world: World, kind: str) -> None:
    dataset, folder = world.dataset, world.folders[kind]
    ranker, loaded = Ranker.load(folder), bundle.load(folder, dataset.items, dataset.queries)
    samples, negatives = dataset.evaluated("test")
    expected = score_samples(loaded.model, BatchBuilder(dataset, MAX_HISTORY), samples, negatives, 64, NullReport())
    for row in range(0, len(samples), 13):
        candidates = [f"i{item}" for item in (samples.item[row], *negatives[row])]
        events = slice(samples.history_start[row], samples.history_end[row])
        history = [f"i{item}" for item in dataset.events.item[events]]
        came = [BEHAVIORS[how] for how in dataset.events.behavior[events]]
        query = dataset.queries[samples.query[row]] if samples.query[row] >= 0 else None
        result = dict(ranker.rank(history, query, candidates, behaviors=came))
        np.testing.assert_allclose([result[raw] for raw in candidates], 1 / (1 + np.exp(-expected[row])), rtol=1e-4)


@pytest.mark.parametrize("query", [None, "kitchen"])
def test_best_first_with_every_candidate_and_its_probability(ranker: Ranker, query: str | None) -> None:
    ranked = ranker.rank(["i1", "i2"], query, CANDIDATES)
    assert sorted(item for item, _ in ranked) == sorted(CANDIDATES)
    scores = [score for _, score in ranked]
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) == len(scores)
    assert all(0 < score < 1 for score in scores)


def test_the_order_of_candidates_does_not_matter_but_between_equals(ranker: Ranker) -> None:
    ranked = ranker.rank(["i1"], None, CANDIDATES)
    assert [item for item, _ in ranker.rank(["i1"], None, CANDIDATES[::-1])] == [item for item, _ in ranked]
    twice = ranker.rank(["i1"], None, ["i4", "i9", "i4"])
    assert sorted(item for item, _ in twice) == ["i4", "i4", "i9"]
    assert len({score for item, score in twice if item == "i4"}) == 1


def test_query_history_and_behavior_each_change_the_scores(ranker: Ranker) -> None:
    base = ranker.rank(["i1", "i2"], "kitchen", CANDIDATES)
    assert ranker.rank(["i1", "i2"], "kitchen", CANDIDATES, behaviors=["rec", "rec"]) == base
    others = [
        ranker.rank(["i1", "i2"], None, CANDIDATES),
        ranker.rank(["i1", "i2"], "garden", CANDIDATES),
        ranker.rank(["i1", "i3"], "kitchen", CANDIDATES),
        ranker.rank(["i2", "i1"], "kitchen", CANDIDATES),
        ranker.rank(["i1", "i2"], "kitchen", CANDIDATES, behaviors=["rec", "src"]),
    ]
    assert all(dict(other) != dict(base) for other in others)


def test_a_call_of_the_model_has_a_bounded_number_of_candidates(
    ranker: Ranker, monkeypatch: pytest.MonkeyPatch
) -> None:
    contexts = [ranker.context(["i1", "i2"], "red"), ranker.context([], None), ranker.context(["i3"], None)]
    lists = [ranker.places(ranker.raw_ids), ranker.places(["i4"]), ranker.places(["i5", "i4"])]
    expected = [ranker.score([context], [given])[0] for context, given in zip(contexts, lists, strict=True)]
    shapes: list[tuple[int, ...]] = []
    whole = ranker.loaded.model.score
    monkeypatch.setattr(ranker_module, "_AT_ONCE", 7)
    monkeypatch.setattr(ranker.loaded.model, "score", lambda b: (shapes.append(tuple(b.candidates.shape)), whole(b))[1])
    for scores, alone in zip(ranker.score(contexts, lists), expected, strict=True):
        np.testing.assert_allclose(scores, alone, atol=1e-6)
    assert max(rows * width for rows, width in shapes) == 7
    assert shapes[-1] == (2, 2), "short lists share a call"


def test_an_earlier_request_leaves_no_trace(ranker: Ranker) -> None:
    first = ranker.rank(["i1"], None, CANDIDATES)
    ranker.rank(["i7", "i8"], "office garage", ["i2"])
    assert ranker.rank(["i1"], None, CANDIDATES) == first
    assert ranker.rank(["i1"], "", CANDIDATES) == first


def test_unknown_items_of_a_history_are_dropped_before_it_is_cut(ranker: Ranker) -> None:
    history = [f"i{n}" for n in range(10, 10 + MAX_HISTORY)]
    known = ranker.rank(history, None, CANDIDATES, behaviors=["rec", "src", "rec", "src", "rec"])
    mixed = ["gone", *history[:2], "lost", *history[2:], "gone"]
    came = ["src", "rec", "src", "src", "rec", "src", "rec", "src"]
    assert ranker.rank(mixed, None, CANDIDATES, behaviors=came) == known
    assert ranker.rank(["i30", "i31", *history], None, CANDIDATES) == ranker.rank(history, None, CANDIDATES)
    assert ranker.rank(["i30", *history[1:]], None, CANDIDATES) != ranker.rank(history, None, CANDIDATES)


def test_a_history_without_a_known_item_is_an_empty_one(ranker: Ranker) -> None:
    for query in (None, "kitchen"):
        empty = ranker.rank([], query, CANDIDATES)
        assert len(empty) == len(CANDIDATES)
        assert ranker.rank(["gone", "lost"], query, CANDIDATES) == empty
        assert ranker.rank(["i1"], query, CANDIDATES) != empty


def test_an_overlong_query_is_cut(ranker: Ranker) -> None:
    """Far beyond what the prompt has room for; the words after the limit change nothing."""
    long = "kitchen " * 500
    assert ranker.rank(["i1"], long, CANDIDATES) == ranker.rank(["i1"], long + "garden", CANDIDATES)
    assert ranker.rank(["i1"], long, CANDIDATES) != ranker.rank(["i1"], "garden " + long, CANDIDATES)


def test_top_n_keeps_the_best(ranker: Ranker) -> None:
    every = ranker.rank(["i1"], None, CANDIDATES)
    for top_n in (1, 3, len(CANDIDATES), 100):
        assert ranker.rank(["i1"], None, CANDIDATES, top_n) == every[:top_n]
    for top_n in (0, -1):
        with pytest.raises(DataError, match=f"top_n is {top_n}. Give 1 or more"):
            ranker.rank(["i1"], None, CANDIDATES, top_n)


def test_candidates_must_be_known_and_some(ranker: Ranker) -> None:
    with pytest.raises(DataError, match=r"does not know the candidates \['nope', 'i40'\]"):
        ranker.rank(["i1"], None, ["i2", "nope", "i40"])
    with pytest.raises(DataError, match="at least one"):
        ranker.rank(["i1"], None, [])


@pytest.mark.parametrize("behaviors", [[], ["rec"], ["rec", "src", "rec"], ["rec", "bought"]])
def test_behaviors_must_fit_the_history(ranker: Ranker, behaviors: list[str]) -> None:
    with pytest.raises(DataError, match="rec or src for each of the 2 items"):
        ranker.rank(["i1", "i2"], None, CANDIDATES, behaviors=behaviors)


# --- over another catalogue --------------------------------------------------------------------------------------


def catalogue(items: pa.Table, title: str) -> pa.Table:
    """The items in another order, i3 left out, and one that the model never saw."""
    order = np.random.default_rng(0).permutation([n for n in range(ITEMS) if n != 3])
    fresh = {"item_idx": 0, "raw_id": "fresh", "title": title, "brand": "", "description": "", "category_text": ""}
    return pa.concat_tables([items.take(pa.array(order)), pa.Table.from_pylist([fresh], schema=items.schema)])


@pytest.mark.parametrize("kind", ["gensr", "two_head"])
def test_over_another_catalogue_known_items_score_as_before(world: World, kind: str) -> None:
    folder = world.folders[kind]
    other = catalogue(world.dataset.items, "kitchen thing")
    loaded = bundle.load(folder, other)
    assert loaded.unknown_item_share == pytest.approx(1 / ITEMS)
    moved = Ranker(loaded, other["raw_id"].to_pylist())
    for query in (None, "kitchen"):
        result = moved.rank(["i1", "i2"], query, CANDIDATES)
        expected = Ranker.load(folder).rank(["i1", "i2"], query, CANDIDATES)
        assert [item for item, _ in result] == [item for item, _ in expected]
        np.testing.assert_allclose([s for _, s in result], [s for _, s in expected], rtol=1e-5)
    with pytest.raises(DataError, match="i3"):
        moved.rank([], None, ["i3"])


def test_the_text_of_an_unknown_item_is_read(world: World) -> None:
    scores = []
    for title in ("kitchen thing", "garden number"):
        other = catalogue(world.dataset.items, title)
        ranker = Ranker(bundle.load(world.folders["gensr"], other), other["raw_id"].to_pylist())
        scores += [score for _, score in ranker.rank(["i1"], "kitchen", ["fresh"])]
    assert scores[0] != scores[1]


def test_an_empty_catalogue_has_no_unknown_item(world: World) -> None:
    assert bundle.load(world.folders["gensr"], world.dataset.items.slice(0, 0)).unknown_item_share == 0.0


def test_a_folder_that_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no config\.json"):
        bundle.load(tmp_path)
