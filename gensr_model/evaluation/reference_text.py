"""Reference rankers that read the query: BM25 over item text, and counts of pairs of query and item."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from gensr_model.config.model import TextConfig
from gensr_model.data.bm25 import index_texts, item_texts, query_words
from gensr_model.data.prepared import IntArray, PreparedDataset, Samples

Scorer = Callable[[Samples, IntArray], npt.NDArray[Any]]


def bm25(dataset: PreparedDataset, text: TextConfig, queries: IntArray) -> Scorer:
    """BM25 of the query's words in the item's text, with the weights of `TextIndex` in ``data/bm25.py``.

    It scores only the candidates. An item without text, or a query without a known word, scores 0. `queries` (Q,) are
    the query_idx of the samples to score.
    """
    index = index_texts(item_texts(dataset.items, text))
    scores = sparse.csr_array(index.by_word.T)  # (I, W + 1)
    scores.sort_indices()
    word_of = query_words(index, [dataset.queries[query] for query in queries])  # (Q, longest)

    def score(samples: Samples, lists: IntArray) -> npt.NDArray[Any]:
        asked_words = word_of[np.searchsorted(queries, samples.query)]  # (b, longest)
        total = np.zeros(lists.shape, np.float32)
        for word in asked_words.T:
            matches = scores[lists.ravel(), np.repeat(word, lists.shape[1])]
            total += np.asarray(matches).reshape(lists.shape)
        return total

    return score


def same_query(dataset: PreparedDataset) -> Scorer:
    """1 where the sample's query is known for the candidate, else 0.

    Two sources list the queries of an item, both known before the sample. The first is training searches that ended at
    the item. The second exists where queries are made from category paths (amazon): `item_queries.parquet` lists the
    queries that an item's paths make. The second source is a catalogue fact and no leak, because it also lists items
    that nobody ever bought. With it the positive always has its query, so only items of the same category tie with the
    positive. This ranker shows which part of the task is only matching, and what a model must add.
    """
    known = searched_pairs(dataset) + catalogue_pairs(dataset)
    return lambda samples, lists: entries(known, samples.query, lists) > 0


def query_count(dataset: PreparedDataset) -> Scorer:
    """Number of training searches with the sample's query that ended at the candidate: popularity within a query.

    The catalogue's list does not count. So all candidates score 0 for a query that training lacks, and an item that
    training lacks scores 0.
    """
    counts = searched_pairs(dataset)
    return lambda samples, lists: entries(counts, samples.query, lists)


def searched_pairs(dataset: PreparedDataset) -> sparse.csr_array:
    """(Q, I): number of training searches with each query that ended at each item."""
    train = dataset.samples("train")
    train = train.take(train.query >= 0)
    return _counted(dataset, train.query, train.item)


def catalogue_pairs(dataset: PreparedDataset) -> sparse.csr_array:
    """(Q, I): 1 where the catalogue lists the query for the item. All 0 in formats without such lists."""
    if not (dataset.folder / "item_queries.parquet").is_file():
        return _counted(dataset, np.empty(0, np.int64), np.empty(0, np.int64))
    listed = dataset.table("item_queries")
    query, item = (listed[name].to_numpy().astype(np.int64) for name in ("query_idx", "item_idx"))
    pairs = _counted(dataset, query, item)
    pairs.data[:] = 1.0  # two paths of an item may make one query
    return pairs


def _counted(dataset: PreparedDataset, query: IntArray, item: IntArray) -> sparse.csr_array:
    ones = np.ones(len(query), np.float32)
    return sparse.csr_array((ones, (query, item)), shape=(dataset.n_queries, dataset.n_items))


def entries(matrix: sparse.csr_array, row: IntArray, lists: IntArray) -> npt.NDArray[Any]:
    """(b, C): the entries of each row (b,) of a sparse matrix at the columns (b, C)."""
    return np.asarray(matrix[np.repeat(row, lists.shape[1]), lists.ravel()]).reshape(lists.shape)
