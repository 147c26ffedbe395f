"""Why an item stands in an answer: numbers of the model that answered, words that BM25 matches, nothing invented."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from test_service import CANDIDATES, saved

from gensr_model.data.batches import Batch
from gensr_model.data.bm25 import best_matches, index_texts
from gensr_model.models.gensr import GenSR
from gensr_model.models.views import View
from gensr_model.serving import ranker as ranker_module
from gensr_model.serving.explain import Explanation, explain, explanation_schema, matched_words
from gensr_model.serving.service import Request, Service

NO_WEIGHTS = (None, None)
PAGE = Path(__file__).resolve().parents[2] / "docs/concepts/why_this_item.md"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("gensr"), "gensr", 0)


@pytest.fixture(scope="module")
def service(folder: Path) -> Service:
    return Service.load(folder)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of a full-ranking model with the departures AR and AT."""
    departures = {"item_vectors": True, "shortcuts": True, "neighbors": 5}
    return saved(tmp_path_factory.mktemp("full"), "full_ranking", 1, full=departures)


def explained(service: Service, request: Request) -> dict[str, Explanation]:
    """The explanation of each item of the answer, by its id."""
    read = service.read(request)
    answer = service.rank([read])[0]
    result = explain(read, answer)
    assert service.answer(request) == answer, "an explanation changes no answer"
    return dict(zip(answer.items, result, strict=True))


def by_hand(service: Service, history: list[int], candidate: int, view: str) -> list[float]:
    """Softmaxes of Q K / √d over the events, averaged over the two heads."""
    model = service.ranker.loaded.model
    assert isinstance(model, GenSR)
    count = len(history)
    zeros = torch.zeros(1, dtype=torch.long)
    batch = Batch(
        torch.tensor([*history, candidate]), torch.arange(count)[None], torch.ones(1, count, dtype=torch.bool),
        torch.zeros(1, count, dtype=torch.long), torch.tensor([[count]]), zeros, zeros - 1, zeros, zeros + count,
    )  # fmt: skip
    with torch.inference_mode():
        encoded = getattr(model.encode(batch), view)
        part: View = getattr(model, f"{view}_view")
        attention = part.filter.attention
        (w_q, w_k, _), (b_q, b_k, _) = attention.in_proj_weight.chunk(3), attention.in_proj_bias.chunk(3)
        query = (encoded.candidates[0, 0] @ w_q.T + b_q).view(2, -1)
        key = (encoded.history[0] @ w_k.T + b_k).view(count, 2, -1)
        products = torch.einsum("hd,nhd->hn", query, key) / math.sqrt(query.shape[1])
        weights: list[float] = products.softmax(dim=1).mean(dim=0).tolist()
        return weights


def test_weights_are_the_filters_over_the_history_in_its_order(service: Service) -> None:
    result = explained(service, Request(history=["i30", "gone", "i1", "i2", "i1"], candidates=CANDIDATES))
    for item, explanation in result.items():
        for view, weights in explanation.filter._asdict().items():
            assert sum(weights) == pytest.approx(1, abs=1e-6)
            assert weights == pytest.approx(by_hand(service, [30, 1, 2, 1], int(item[1:]), view), abs=1e-6)
        assert (explanation.other, explanation.words, explanation.note) == (None, [], None)


def test_each_item_has_its_own_explanation_however_many_are_scored_together(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = Request(user="u12", query="a Kitchen thing", candidates=[f"i{n}" for n in range(20)])
    read = service.read(request)
    answer = service.rank([read])[0]
    together = explain(read, answer)
    assert len({explanation.views for explanation in together}) == len(answer.items)
    monkeypatch.setattr(ranker_module, "_AT_ONCE", 3)
    first = answer._replace(items=answer.items[:7], scores=answer.scores[:7])
    for few, many in zip(explain(read, first), together[:7], strict=True):
        for part in ("filter", "views"):
            np.testing.assert_allclose(getattr(few, part), getattr(many, part), atol=1e-6)
        assert few.words == many.words
    assert explain(read, answer._replace(items=[], scores=[])) == []


def test_the_parts_of_full_ranking_sum_to_the_differences_of_the_scores(service: Service, full: Path) -> None:
    both = Service(service.ranker, service.store, None, Service.load(full).ranker)
    read = both.read(Request(user="u12", query="kitchen", top_n=40))
    answer = both.rank([read])[0]
    result = explain(read, answer)
    sums = np.array([sum((*each.views, each.other)) for each in result])
    np.testing.assert_allclose(np.diff(sums), np.diff(np.log(answer.scores)), atol=1e-5)
    assert np.all(np.diff(sums) <= 1e-6), "best first"
    assert {(each.filter, each.note) for each in result} == {(NO_WEIGHTS, "This model has no soft filter.")}
    assert "sum to the logit" in explanation_schema(read)["other"]
    given = both.read(Request(user="u12", query="kitchen", candidates=CANDIDATES))
    of_gensr = service.read(Request(user="u12", query="kitchen", candidates=CANDIDATES))
    assert explain(given, both.rank([given])[0]) == explain(of_gensr, service.rank([of_gensr])[0])
    assert "mean item of the catalogue" in explanation_schema(given)["views"]


def test_without_history_there_are_no_weights_and_popular_items_have_no_number(service: Service) -> None:
    for explanation in explained(service, Request(query="kitchen", top_n=3)).values():
        assert explanation.filter == NO_WEIGHTS
        assert None not in explanation.views
        assert explanation.note == "Without a history there are no weights."
    for explanation in explained(service, Request(top_n=3)).values():
        assert explanation[:4] == (NO_WEIGHTS, (None, None), None, [])
        assert explanation.note == "Popular items answer where nothing is known of a user. No model scored them."


@pytest.mark.parametrize(
    ("kind", "model", "filters", "views", "note"),
    [
        ("gensr", {"soft_filter": False}, (False, False), (True, True), "This model has no soft filter."),
        ("gensr", {"cf_view": False}, (False, True), (False, True), "This model has no CF view."),
        ("gensr", {"semantic_view": False}, (True, False), (True, False), "This model has no semantic view."),
        ("two_head", {}, (True, True), (False, False), "This model has one filter over the sum of both views, so both "
         "views have the same weights. This model has no contribution of one view."),
        ("full_ranking", {}, (False, False), (True, True), "This model has no soft filter."),
    ],
)  # fmt: skip
def test_what_a_model_does_not_have_is_null_and_noted(
    tmp_path: Path, kind: str, model: dict[str, object], filters: object, views: object, note: str
) -> None:
    service = Service.load(saved(tmp_path, kind, 0, model=model))
    for explanation in explained(service, Request(history=["i1", "i2"], query="kitchen", top_n=3)).values():
        assert tuple(part is not None for part in explanation.filter) == filters
        assert tuple(part is not None for part in explanation.views) == views
        assert explanation.note == note
        assert explanation.other is None


def test_words_are_those_by_which_retrieval_matches(service: Service) -> None:
    texts = service.ranker.texts(np.arange(40))
    query = "a Kitchen, or the THING; 红色 number-12 kitchens"
    words = matched_words(query, texts)
    assert words[12] == ["kitchen", "thing", "number", "12"]
    assert words[1] == ["thing", "number"]
    for word in ("kitchen", "garden", "zzz", "the"):
        matched = [n for n, found in enumerate(matched_words(word, texts)) if found]
        assert matched == sorted(best_matches(index_texts(texts), [word], 100).item.tolist())
    assert matched_words("红色鞋 Straße", ["大红色 STRASSE"]) == [["红色", "strasse"]]
    assert matched_words(None, ["kitchen"]) == [[]]
    result = explained(service, Request(query="Garden office", candidates=["i1", "i2", "i3"]))
    assert {item: each.words for item, each in result.items()} == {"i1": ["garden"], "i2": ["office"], "i3": []}


def test_the_printed_snippet_runs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    snippet = PAGE.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    exec(snippet.replace("path/to/bundle", str(folder)).replace("red shoe", "kitchen"), {})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 11
    assert "Contributions(cf=" in lines[0]
    assert "mean item of the catalogue" in lines[-1]


def test_threads_do_not_mix_explanations(service: Service) -> None:
    requests = [
        Request(user=f"u{n}", query=(None, "kitchen", "garden office", "garage")[n % 4], candidates=CANDIDATES)
        for n in range(16)
    ]
    one_by_one = [explained(service, request) for request in requests]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda request: explained(service, request), requests)) == one_by_one
