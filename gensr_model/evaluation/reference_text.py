"""Reference rankers that read the query: BM25 over item text, and whether the query is known for an item."""

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
    """BM25 of the query's words in the item's text, with the weights of ``data/bm25.py`` `TextIndex`.

    Only the candidates are scored. An item without text, or a query without a known word, scores 0. `queries` (Q,)
    are the query_idx that will be asked about.
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
    the item. The second, where queries are made from category paths (amazon), is `item_queries.parquet`: the queries
    that an item's own paths make. It is a catalogue fact and no leak, as it also lists items that nobody ever bought.
    With the second source the positive always has its query, so only items of the same category tie with it. This
    ranker shows how much of the task is matching only, and what a model must add.
    """
    train = dataset.samples("train")
    train = train.take(train.query >= 0)
    pairs = [train.item * dataset.n_queries + train.query]
    if (dataset.folder / "item_queries.parquet").is_file():
        listed = dataset.table("item_queries")
        item, query = (listed[name].to_numpy().astype(np.int64) for name in ("item_idx", "query_idx"))
        pairs.append(item * dataset.n_queries + query)
    carried = np.unique(np.concatenate(pairs))

    def score(samples: Samples, lists: IntArray) -> npt.NDArray[Any]:
        return np.isin(lists * dataset.n_queries + samples.query[:, None], carried)

    return score
