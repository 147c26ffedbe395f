"""Requests to a bundle: whose history counts, what is ranked, and what the answer says about it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from small_dataset import ITEMS, write_cf, write_dataset

from gensr_model.config import PipelineConfig
from gensr_model.errors import DataError
from gensr_model.ranker import BEHAVIORS
from gensr_model.serving import store
from gensr_model.serving.service import Request, Service
from gensr_model.training import bundle

MODEL = {
    "max_history": 5,
    "max_query_tokens": 4,
    "backbone": {"vocab_size": 120, "d_model": 16, "d_kv": 8, "d_ff": 32, "heads": 2, "encoder_layers": 1},
    "view_heads": 2,
}
CANDIDATES = ["i4", "i9", "i17", "i25"]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Service:
    root = tmp_path_factory.mktemp("service")
    dataset, cf = write_dataset(root / "prepared"), write_cf(root / "cf")
    config = PipelineConfig.model_validate({"model": MODEL})
    (root / "bundle").mkdir()
    model, tokenizer = bundle.assemble("gensr", dataset, cf, config)
    bundle.save(root / "bundle", "gensr", model, tokenizer, dataset, config)
    store.save(root / "bundle", dataset, cf, config.model.max_history)
    return Service.load(root / "bundle")


def stored(service: Service, user: str) -> tuple[list[str], list[str]]:
    known = service.store.user(user)
    assert known is not None
    return [f"i{item}" for item in known.history], [BEHAVIORS[how] for how in known.behavior]


@pytest.mark.parametrize("query", [None, "kitchen"])
def test_a_known_user_is_ranked_by_the_stored_history(service: Service, query: str | None) -> None:
    history, came = stored(service, "u12")
    found = service.answer(Request(user="u12", query=query, candidates=CANDIDATES))
    given = service.answer(Request(history=history, behaviors=came, query=query, candidates=CANDIDATES))
    assert (found.items, found.scores) == (given.items, given.scores)
    assert dict(zip(found.items, found.scores, strict=True)) == dict(
        service.ranker.rank(history, query, CANDIDATES, behaviors=came)
    )
    assert (found.history_source, given.history_source) == ("stored", "given")
    assert found.task == ("search" if query else "recommendation")
    assert (found.candidate_source, found.notes) == ("given", [])


def test_a_given_history_goes_before_the_stored_one_even_when_empty(service: Service) -> None:
    for history in (["i1"], []):
        found = service.answer(Request(user="u12", history=history, candidates=CANDIDATES))
        alone = service.answer(Request(history=history, candidates=CANDIDATES))
        assert found == alone
        assert found.history_source == "given"


def test_an_unknown_user_is_an_empty_history_and_is_told(service: Service) -> None:
    found = service.answer(Request(user="nobody", candidates=CANDIDATES))
    none = service.answer(Request(candidates=CANDIDATES))
    assert found.scores == none.scores
    assert (found.history_source, none.history_source) == ("unknown-user", "none")
    assert "'nobody' is unknown" in found.notes[0]
    assert none.notes == []
    assert service.answer(Request(user="nobody", history=["i1"], candidates=CANDIDATES)).notes == []


def test_without_candidates_the_catalogue_is_retrieved_and_ranked(service: Service) -> None:
    history, came = stored(service, "u12")
    for query, expected in ((None, ITEMS - len(set(history))), ("kitchen", ITEMS)):
        found = service.answer(Request(user="u12", query=query))
        assert found.candidate_source == "retrieved"
        assert len(set(found.items)) == len(found.items) == expected
        again = service.ranker.rank(history, query, found.items, behaviors=came)
        assert [item for item, _ in again] == found.items
    assert not set(history) & set(service.answer(Request(user="u12")).items)


def test_retrieval_sees_the_users_own_vector_only_behind_the_stored_history(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    real = service.retriever.find

    def find(history: object, vector: object, query: object) -> object:
        seen.append(vector is not None)
        return real(history, vector, query)  # type: ignore[arg-type]

    monkeypatch.setattr(service.retriever, "find", find)
    for request in (Request(user="u12"), Request(user="u12", history=["i1"]), Request(user="nobody")):
        service.answer(request)
    assert seen == [True, False, False]


@pytest.mark.parametrize("request_", [Request(), Request(user="nobody"), Request(history=["gone"])])
def test_nothing_known_still_answers(service: Service, request_: Request) -> None:
    assert len(service.answer(request_._replace(top_n=3)).items) == 3


def test_notes_name_what_was_left_out_and_cut(service: Service) -> None:
    found = service.answer(Request(history=["gone", "i1"], query="kitchen " * 50, candidates=CANDIDATES))
    assert found.notes == [
        "1 items of the history are unknown and were left out: ['gone']",
        "the query was cut to its first 4 tokens",
    ]
    cut = service.answer(Request(history=["i1"], query="kitchen " * 4, candidates=CANDIDATES))
    assert cut.notes == []
    assert cut.scores == found.scores


def test_a_blank_query_is_none(service: Service) -> None:
    assert service.answer(Request(query=" \n", candidates=CANDIDATES)).task == "recommendation"


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        (Request(candidates=["i4", "nope"]), r"does not know: \['nope'\]"),
        (Request(candidates=[]), "at least one"),
        (Request(behaviors=["rec"]), "without the history"),
        (Request(user="u1", behaviors=["rec"]), "without the history"),
        (Request(history=["i1"], behaviors=["bought"]), "rec or src"),
        (Request(top_n=0), "top_n: expected 1 or more"),
    ],
)
def test_a_wrong_request_is_one_sentence(service: Service, request_: Request, says: str) -> None:
    with pytest.raises(DataError, match=says):
        service.answer(request_)


def test_threads_do_not_mix_up_each_others_queries(service: Service) -> None:
    requests = [
        Request(
            user=f"u{n}", query=(None, "kitchen", "garden office", "garage")[n % 4], candidates=CANDIDATES
        )
        for n in range(24)
    ]
    alone = [service.answer(request) for request in requests]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            assert list(pool.map(service.answer, requests)) == alone
