"""Requests to a bundle: whose history counts, what is ranked, and what the answer says about it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch
from small_dataset import ITEMS, LENGTH, SMALL_CONFIG, SMALL_MODEL, write_cf, write_dataset

from gensr_model.config.pipeline import PipelineConfig
from gensr_model.data.batches import Batch
from gensr_model.data.prepared import BEHAVIORS
from gensr_model.errors import DataError
from gensr_model.models import bundle, user_store
from gensr_model.models.full_ranking import FullRanking
from gensr_model.serving.service import Request, Service

MODEL = SMALL_MODEL | {"max_query_tokens": 4}
CANDIDATES = ["i4", "i9", "i17", "i25"]


def saved(
    root: Path, kind: str, seed: int, model: dict[str, object] | None = None, full: dict[str, object] | None = None
) -> Path:
    """The bundle of an untrained model, ready to serve, with changes to ``MODEL`` and full ranking's departures."""
    dataset, cf = write_dataset(root / "prepared"), write_cf(root / "cf")
    config = PipelineConfig.model_validate(
        SMALL_CONFIG | {"model": MODEL | (model or {}), "full_ranking": {"departures": full or {}}, "seed": seed}
    )
    (root / "bundle").mkdir()
    assembled, tokenizer = bundle.assemble(kind, dataset, cf, config)
    bundle.save(root / "bundle", kind, assembled, tokenizer, dataset, config)
    user_store.save(root / "bundle", dataset, cf, config.model.max_history)
    return root / "bundle"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("service"), "gensr", 0)


@pytest.fixture(scope="module")
def service(folder: Path) -> Service:
    return Service.load(folder)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of a full-ranking model that knows another item instead of i7."""
    made = saved(tmp_path_factory.mktemp("full"), "full_ranking", 1)
    items = pq.read_table(made / bundle.ITEMS)
    renamed = pc.if_else(pc.equal(items["raw_id"], "i7"), "another", items["raw_id"])
    place = items.schema.get_field_index("raw_id")
    pq.write_table(items.set_column(place, "raw_id", renamed), made / bundle.ITEMS)
    return made


def stored(service: Service, user: str) -> tuple[list[str], list[str]]:
    known = service.store.user(user)
    assert known is not None
    return [f"i{item}" for item in known.history], [BEHAVIORS[how] for how in known.behavior]


def met(service: Service, user: str) -> set[str]:
    """Every item that the user met, also before the stored history."""
    known = service.store.user(user)
    assert known is not None
    items = {f"i{item}" for item in [*known.history, *known.earlier]}
    assert len(items) == LENGTH > len(set(known.history.tolist()))
    return items


@pytest.mark.parametrize("query", [None, "kitchen"])
def test_a_known_user_is_ranked_by_the_stored_history(service: Service, query: str | None) -> None:
    history, came = stored(service, "u12")
    result = service.answer(Request(user="u12", query=query, candidates=CANDIDATES))
    given = service.answer(Request(history=history, behaviors=came, query=query, candidates=CANDIDATES))
    assert (result.items, result.scores) == (given.items, given.scores)
    assert dict(zip(result.items, result.scores, strict=True)) == dict(
        service.ranker.rank(history, query, CANDIDATES, behaviors=came)
    )
    assert (result.history_source, given.history_source) == ("stored", "given")
    assert result.task == ("search" if query else "recommendation")
    assert (result.candidate_source, result.notes) == ("given", [])


def test_a_given_history_goes_before_the_stored_one_even_when_empty(service: Service) -> None:
    for history in (["i1"], []):
        result = service.answer(Request(user="u12", history=history, candidates=CANDIDATES))
        without_user = service.answer(Request(history=history, candidates=CANDIDATES))
        assert result == without_user
        assert result.history_source == "given"


def test_an_unknown_user_is_an_empty_history_and_is_told(service: Service) -> None:
    result = service.answer(Request(user="nobody", candidates=CANDIDATES))
    none = service.answer(Request(candidates=CANDIDATES))
    assert result.scores == none.scores
    assert (result.history_source, none.history_source) == ("unknown-user", "none")
    assert "'nobody' is unknown" in result.notes[0]
    assert none.notes == []
    assert service.answer(Request(user="nobody", history=["i1"], candidates=CANDIDATES)).notes == []


def test_without_candidates_the_catalogue_is_retrieved_and_ranked(service: Service) -> None:
    history, came = stored(service, "u12")
    for query, expected in ((None, ITEMS - LENGTH), ("kitchen", ITEMS)):
        result = service.answer(Request(user="u12", query=query))
        assert result.candidate_source == "retrieved"
        assert len(set(result.items)) == len(result.items) == expected
        again = service.ranker.rank(history, query, result.items, behaviors=came)
        assert [item for item, _ in again] == result.items
    assert not met(service, "u12") & set(service.answer(Request(user="u12")).items)


@pytest.mark.parametrize("query", [None, "kitchen"])
def test_without_candidates_a_full_ranking_model_ranks_everything(
    service: Service, folder: Path, full: Path, query: str | None
) -> None:
    both = Service.load(folder, full)
    result = both.answer(Request(user="u12", query=query))
    assert (result.candidate_source, result.history_source) == ("full-ranking", "stored")
    history, came = stored(service, "u12")
    names, chance = generated(full, history, came, query)
    left_out = set() if query else met(service, "u12")
    assert result.items == [name for name in names if name not in left_out]
    assert result.scores == pytest.approx([chance[name] for name in result.items])
    assert both.answer(Request(user="u12", query=query, top_n=3)).items == result.items[:3]
    given = Request(user="u12", query=query, candidates=CANDIDATES)
    assert both.answer(given) == service.answer(given), "given candidates are GenSR's"

    of_full_model = Service.load(full).answer(given)
    assert of_full_model.candidate_source == "given"
    assert of_full_model.scores == pytest.approx([chance[name] for name in of_full_model.items])
    assert of_full_model.scores == sorted(of_full_model.scores, reverse=True)


def generated(full: Path, history: list[str], came: list[str], query: str | None) -> tuple[list[str], dict[str, float]]:
    """All items in the order in which the full-ranking model generates them, and the chance of each."""
    loaded = bundle.load(full, queries=[query] if query else [])
    index = {raw: item for item, raw in enumerate(bundle.item_ids(full))}
    events = [(index[i], BEHAVIORS.index(b)) for i, b in zip(history, came, strict=True) if i in index]
    batch = Batch(
        items=torch.tensor([item for item, _ in events]),
        history=torch.arange(len(events)).unsqueeze(0),
        history_mask=torch.ones(1, len(events), dtype=torch.bool),
        behavior=torch.tensor([[how for _, how in events]]),
        candidates=torch.zeros(1, 1, dtype=torch.long),
        task=torch.tensor([int(query is not None)]),
        query=torch.tensor([0 if query else -1]),
        user=torch.tensor([0]),
        history_end=torch.tensor([len(events)]),
    )
    assert isinstance(loaded.model, FullRanking)
    order = loaded.model.generate(batch, ITEMS).items[0].tolist()
    with torch.inference_mode():
        chance = loaded.model.catalogue_scores(batch)[0].softmax(0).tolist()
    return [list(index)[item] for item in order], dict(zip(index, chance, strict=True))


def test_what_the_full_ranking_model_does_not_know_is_noted(folder: Path, full: Path) -> None:
    both = Service.load(folder, full)
    assert both.answer(Request(history=["i7", "i1"], candidates=CANDIDATES)).notes == []
    assert both.answer(Request(history=["i7", "i1"])).notes == [
        "1 items of the history are unknown and were left out: ['i7']"
    ]
    assert "another" in both.answer(Request(history=["i1"])).items
    assert len(both.answer(Request()).items) == ITEMS, "nothing known still answers"
    with pytest.raises(DataError, match=r"top_n is 0\. Give 1 or more"):
        both.answer(Request(top_n=0))
    with pytest.raises(DataError, match="ranks given candidates, not the catalogue"):
        Service.load(folder, folder)
    with pytest.raises(DataError, match="a GenSR ranks given candidates"):
        both.ranker.rank_catalogue([], None, 3)


def test_retrieval_sees_the_users_own_vector_only_behind_the_stored_history(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    real = service.retriever.find

    def find(history: object, vector: object, query: object, **more: object) -> object:
        seen.append(vector is not None)
        return real(history, vector, query, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(service.retriever, "find", find)
    for request in (Request(user="u12"), Request(user="u12", history=["i1"]), Request(user="nobody", query="kitchen")):
        service.answer(request)
    assert seen == [True, False, False]


@pytest.mark.parametrize("request_", [Request(), Request(user="nobody"), Request(history=["gone"])])
def test_where_nothing_is_known_the_most_popular_items_answer(service: Service, request_: Request) -> None:
    result = service.answer(request_._replace(top_n=3))
    bought = service.store.bought.numpy()
    order = np.lexsort((np.arange(ITEMS), -bought))[:3]
    assert result.items == [f"i{item}" for item in order]
    assert result.scores == pytest.approx(bought[order] / bought.max())
    assert result.candidate_source == "popular"
    searched = service.answer(request_._replace(query="kitchen"))
    given = service.answer(request_._replace(candidates=CANDIDATES))
    assert (searched.candidate_source, given.candidate_source) == ("retrieved", "given")


def test_answers_to_many_requests_are_those_to_each_alone(service: Service, folder: Path, full: Path) -> None:
    requests = [
        Request(user="u12"),
        Request(),
        Request(user="u3", query="kitchen", top_n=4),
        Request(user="u12", candidates=CANDIDATES),
        Request(history=["i1", "i2"], behaviors=["src", "rec"], top_n=2),
        Request(query="garden red", candidates=CANDIDATES[:2]),
    ]
    for served in (service, Service.load(folder, full)):
        answers = served.rank([served.read(request) for request in requests])
        for request, many in zip(requests, answers, strict=True):
            alone = served.answer(request)
            assert many._replace(scores=[]) == alone._replace(scores=[])
            assert many.scores == pytest.approx(alone.scores, abs=1e-5)


def test_items_that_the_user_met_are_recommended_where_they_are_not_left_out(folder: Path, full: Path) -> None:
    for served in (Service.load(folder), Service.load(folder, full)):
        without = served.answer(Request(user="u12"))
        served.leave_out_met = False
        every = served.answer(Request(user="u12"))
        assert set(every.items) - set(without.items) == met(served, "u12") - {"i7"}
        assert len(every.items) == ITEMS


def test_popular_items_that_the_user_met_are_left_out(folder: Path, full: Path, tmp_path: Path) -> None:
    """Where the full-ranking model knows no item of the user's history."""
    for path in full.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    items = pq.read_table(tmp_path / bundle.ITEMS)
    place = items.schema.get_field_index("raw_id")
    other = pc.binary_join_element_wise(items["raw_id"], "-new", "")
    pq.write_table(items.set_column(place, "raw_id", other), tmp_path / bundle.ITEMS)
    both = Service.load(folder, tmp_path)
    result = both.answer(Request(user="u12"))
    assert result.candidate_source == "popular"
    assert len(result.items) == ITEMS - LENGTH
    assert not met(both, "u12") & set(result.items)


def test_notes_name_what_was_left_out_and_cut(service: Service) -> None:
    result = service.answer(Request(history=["gone", "i1"], query="kitchen " * 50, candidates=CANDIDATES))
    assert result.notes == [
        "1 items of the history are unknown and were left out: ['gone']",
        "the query was cut to its first 4 tokens",
    ]
    cut = service.answer(Request(history=["i1"], query="kitchen " * 4, candidates=CANDIDATES))
    assert cut.notes == []
    assert cut.scores == result.scores


def test_a_repeated_candidate_is_ranked_once_and_noted(service: Service, folder: Path, full: Path) -> None:
    for each in (service, Service.load(full)):
        once = each.answer(Request(user="u12", candidates=CANDIDATES))
        result = each.answer(Request(user="u12", candidates=[*CANDIDATES, "i9", "i4", "i9"]))
        assert result == once._replace(notes=result.notes)
        assert result.notes == ["2 candidates were given more than once and are ranked once: ['i4', 'i9']"]


def test_a_blank_query_is_none(service: Service) -> None:
    assert service.answer(Request(query=" \n", candidates=CANDIDATES)).task == "recommendation"


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        (Request(candidates=["i4", "nope"]), r"does not know the candidates \['nope'\]"),
        (Request(candidates=[]), "at least one"),
        (Request(behaviors=["rec"]), "given without history"),
        (Request(user="u1", behaviors=["rec"]), "given without history"),
        (Request(history=["i1"], behaviors=["bought"]), "rec or src"),
        (Request(top_n=0), "top_n is 0. Give 1 or more"),
    ],
)
def test_a_wrong_request_is_one_sentence(service: Service, request_: Request, says: str) -> None:
    with pytest.raises(DataError, match=says):
        service.answer(request_)


def test_threads_do_not_mix_up_each_others_queries(service: Service) -> None:
    requests = [
        Request(user=f"u{n}", query=(None, "kitchen", "garden office", "garage")[n % 4], candidates=CANDIDATES)
        for n in range(24)
    ]
    one_by_one = [service.answer(request) for request in requests]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            assert list(pool.map(service.answer, requests)) == one_by_one
