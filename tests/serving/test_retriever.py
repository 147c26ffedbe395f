"""Which items of the catalogue GenSR is asked about: LightGCN's and BM25's in turns, then the most bought."""

from __future__ import annotations

import bm25s
import numpy as np
import pyarrow as pa
import pytest
import torch

from gensr_model.config.model import TextConfig
from gensr_model.serving.nearest import Approximate, Exact, nearest
from gensr_model.serving.retriever import Retriever

ITEMS, COLD = 60, 59
EMPTY = np.empty(0, np.int64)
COLORS = ("red", "green", "blue")


def items(titles: list[str]) -> pa.Table:
    blank = [""] * len(titles)
    return pa.table({"title": titles, "brand": blank, "description": blank, "category_text": blank})


TITLES = [f"{COLORS[n % 3]} thing {'extra ' * (n // 3)}number" for n in range(ITEMS)]


@pytest.fixture(scope="module")
def retriever() -> Retriever:
    vectors = torch.randn(ITEMS, 8, generator=torch.Generator().manual_seed(0))
    vectors[COLD] = 0
    bought = torch.arange(ITEMS, dtype=torch.int32) % 11
    return Retriever(vectors, bought, items(TITLES), TextConfig())


def by_dot(retriever: Retriever, vector: torch.Tensor, without: list[int]) -> list[int]:
    score = retriever.item @ vector
    order = torch.argsort(-score, stable=True).tolist()
    return [item for item in order if item not in {*without, COLD}]


def by_words(query: str) -> list[int]:
    corpus = bm25s.tokenize(TITLES, stopwords="en", show_progress=False)
    index = bm25s.BM25(method="lucene")
    index.index(corpus, show_progress=False)
    words = bm25s.tokenize([query], stopwords="en", return_ids=False, show_progress=False)
    result, scores = index.retrieve(words, k=ITEMS, show_progress=False)
    return [int(item) for item, score in zip(result[0], scores[0], strict=True) if score > 0]


def test_without_a_query_the_nearest_to_the_mean_of_the_history(retriever: Retriever) -> None:
    history = np.array([3, 8, 3, COLD])
    expected = by_dot(retriever, retriever.item[[3, 8, 3]].mean(dim=0), [3, 8])
    assert retriever.find(history, None, None, limit=10).tolist() == expected[:10]


def test_the_users_own_vector_goes_before_the_history(retriever: Retriever) -> None:
    vector = torch.randn(8, generator=torch.Generator().manual_seed(1))
    expected = by_dot(retriever, vector, [3, 8])
    assert retriever.find(np.array([3, 8]), vector, None, limit=10).tolist() == expected[:10]


def test_with_a_query_both_take_turns_and_the_history_stays(retriever: Retriever) -> None:
    history = np.array([3, 8])
    near = by_dot(retriever, retriever.item[history].mean(dim=0), [])
    match = by_words("a red Thing")
    result = retriever.find(history, None, "a red Thing", limit=12).tolist()
    expected = list(dict.fromkeys(item for pair in zip(near, match, strict=False) for item in pair))
    assert result == expected[:12]
    assert set(near[:3]) | set(match[:3]) <= set(result)


def test_a_search_without_history_is_bm25s_then_the_most_bought(retriever: Retriever) -> None:
    match = by_words("blue")
    result = retriever.find(EMPTY, None, "blue", limit=len(match) + 4).tolist()
    assert sorted(result[: len(match)]) == sorted(match)
    assert COLD in match, "an item that LightGCN does not know is found by its words"
    popular = sorted((n for n in range(ITEMS) if n not in match), key=lambda n: (-(n % 11), n))
    assert result[len(match) :] == popular[:4]


@pytest.mark.parametrize("query", [None, "", "zzz", "the of"])
def test_nothing_to_go_by_gives_the_most_bought(retriever: Retriever, query: str | None) -> None:
    popular = sorted(range(ITEMS), key=lambda n: (-(n % 11), n))
    assert retriever.find(EMPTY, None, query, limit=9).tolist() == popular[:9]
    assert retriever.find(np.array([COLD]), None, query, limit=9).tolist() == popular[:9]


@pytest.mark.parametrize("query", [None, "red"])
def test_a_limit_beyond_the_catalogue_gives_every_item_once(retriever: Retriever, query: str | None) -> None:
    result = retriever.find(np.array([3]), None, query).tolist()
    expected = [n for n in range(ITEMS) if query or n != 3]
    assert sorted(result) == expected


def test_equal_scores_are_cut_by_position_not_by_chance() -> None:
    same = Retriever(torch.ones(40, 4), torch.ones(40, dtype=torch.int32), items(["red"] * 40), TextConfig())
    assert same.find(np.array([5]), None, None, limit=7).tolist() == [0, 1, 2, 3, 4, 6, 7]
    assert same.find(EMPTY, None, "red", limit=7).tolist() == list(range(7))


def test_a_catalogue_without_a_word_can_still_recommend() -> None:
    bare = Retriever(torch.eye(4), torch.arange(4, dtype=torch.int32), items([""] * 4), TextConfig())
    assert bare.find(EMPTY, None, "red", limit=2).tolist() == [3, 2]


def test_a_large_catalogue_gives_nearly_the_same_items_by_their_products() -> None:
    draw = torch.Generator().manual_seed(2)
    vectors = torch.randn(4_000, 16, generator=draw).half().float()
    vectors[::7] = 0
    exact, index = Exact(vectors), nearest(vectors, approximate_above=3_000)
    assert isinstance(index, Approximate)
    assert isinstance(nearest(vectors, approximate_above=3_500), Exact), "zero vectors are never looked for"
    met = np.arange(1, 400)
    common = 0
    for vector in torch.randn(20, 16, generator=draw):
        result = index.find(vector, 50, met)
        assert len(result) == len(set(result.tolist())) == 50
        assert not np.isin(result, met).any()
        products = (vectors @ vector).numpy()[result]
        assert products == pytest.approx(np.sort(products)[::-1])
        common += len(np.intersect1d(result, exact.find(vector, 50, met)))
    assert common > 0.95 * 20 * 50
    every = index.find(vectors[1], 5_000, met)
    assert sorted(every.tolist()) == sorted(set(range(4_000)) - set(range(0, 4_000, 7)) - set(met.tolist()))
