"""Answers to many users at once are those that the service gives to each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from small_dataset import ITEMS
from test_service import saved

from gensr_model.errors import DataError
from gensr_model.models import bundle
from gensr_model.serving import bulk as bulks
from gensr_model.serving import ranker as rankers
from gensr_model.serving.bulk import Answers, BulkService
from gensr_model.serving.service import Request, Service
from gensr_model.serving.top_n import best_of_rows, best_places

USERS = ["nobody", "u12", "u3", "", "u69", "u12", "new"]


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """GenSR; a full-ranking model; one that knows other items in place of those whose number ends in 7."""
    made = {kind: saved(tmp_path_factory.mktemp(kind), kind, 0) for kind in ("gensr", "full_ranking")}
    other = saved(tmp_path_factory.mktemp("other"), "full_ranking", 1)
    items = pq.read_table(other / bundle.ITEMS)
    names = pc.replace_substring_regex(items["raw_id"], "7$", "7-new")
    place = items.schema.get_field_index("raw_id")
    pq.write_table(items.set_column(place, "raw_id", names), other / bundle.ITEMS)
    return made | {"other": other}


def check(service: Service, answers: Answers, requests: list[Request]) -> None:
    """Each answer against the service's own."""
    end = np.cumsum(answers.counts)
    assert len(answers.counts) == len(requests)
    assert end[-1] == len(answers.items) == len(answers.scores)
    for row, request in enumerate(requests):
        alone, own = service.answer(request), slice(end[row] - answers.counts[row], end[row])
        assert answers.items.to_pylist()[own] == alone.items
        assert answers.scores[own] == pytest.approx(alone.scores, abs=1e-5)
        assert answers.sources[row].as_py() == alone.candidate_source
        assert answers.known[row] == (alone.history_source == "stored")


@pytest.mark.parametrize("catalogue", [None, "other", "itself"])
@pytest.mark.parametrize("leave_out_met", [True, False])
@pytest.mark.parametrize("top_n", [3, 1_000])
def test_answers_are_the_services_own(
    bundles: dict[str, Path], catalogue: str | None, leave_out_met: bool, top_n: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulks, "CATALOGUE_SCORES", 3 * ITEMS)  # several calls of the model
    monkeypatch.setattr(bulks, "_TOGETHER", 4)
    itself = catalogue == "itself"
    service = Service.load(
        bundles["full_ranking" if itself else "gensr"], bundles["other"] if catalogue == "other" else None
    )
    service.leave_out_met = leave_out_met
    bulk = BulkService(service)
    recommended = bulk.recommend(pa.array(USERS), top_n)
    check(service, recommended, [Request(user=user, top_n=top_n) for user in USERS])
    ranked = "retrieved" if catalogue is None else "full-ranking"
    popular = "retrieved" if catalogue is None else "popular"
    assert recommended.sources.to_pylist()[:2] == ["popular", ranked]
    assert popular in recommended.sources.to_pylist()
    queries = ["kitchen", "garden red", " ", "office", "nothing like it", "kitchen", "red"]
    found = bulk.search(pa.array(USERS), pa.array(queries), top_n)
    check(service, found, [Request(u, query=q, top_n=top_n) for u, q in zip(USERS, queries, strict=True)])


def test_a_user_whose_history_the_catalogue_lacks_gets_popular_items_that_are_new(
    bundles: dict[str, Path], tmp_path: Path
) -> None:
    for path in bundles["other"].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    items = pq.read_table(tmp_path / bundle.ITEMS)
    place = items.schema.get_field_index("raw_id")
    names = pc.binary_join_element_wise(items["raw_id"], "-new", "")
    pq.write_table(items.set_column(place, "raw_id", names), tmp_path / bundle.ITEMS)
    service = Service.load(bundles["gensr"], tmp_path)
    answers = BulkService(service).recommend(pa.array(USERS), 5)
    assert set(answers.sources.to_pylist()) == {"popular"}
    check(service, answers, [Request(user=user, top_n=5) for user in USERS])


def test_nothing_is_asked_of_a_model_that_nobody_needs(bundles: dict[str, Path]) -> None:
    bulk = BulkService(Service.load(bundles["full_ranking"]))
    assert len(bulk.recommend(pa.array([], pa.string()), 3).counts) == 0
    assert bulk.recommend(pa.array(["nobody"]), 3).counts.tolist() == [3]
    with pytest.raises(DataError, match=r"top_n is 0\. Give 1 or more"):
        bulk.recommend(pa.array(USERS), 0)
    with pytest.raises(DataError, match="a GenSR ranks given candidates"):
        rankers.Ranker.load(bundles["gensr"]).catalogue_chances(bulk.service.store.histories(np.array([0])))


@pytest.mark.parametrize("limit", [1, 3, 9, 10, 40])
def test_the_best_of_rows_are_the_best_of_each(limit: int) -> None:
    """With many ties, and with rows that have fewer items than are wanted."""
    rng = np.random.default_rng(limit)
    scores = rng.integers(0, 4, (50, 10)).astype(np.float32)
    scores[rng.random((50, 10)) < 0.3] = -np.inf
    scores[0] = -np.inf
    counts, places, best = best_of_rows(scores, limit)
    expected = [best_places(row, limit) for row in scores]
    assert counts.tolist() == [len(row) for row in expected]
    assert places.tolist() == np.concatenate(expected).tolist()
    assert best.tolist() == np.concatenate([row[places] for row, places in zip(scores, expected, strict=True)]).tolist()
