"""Reference rankers that read the query: BM25 over item text, and whether an item carries the query."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import bm25s
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy import sparse

from gensr_model.config import TextConfig
from gensr_model.data.prepared import IntArray, PreparedDataset, Samples

Scorer = Callable[[Samples, IntArray], npt.NDArray[Any]]


def item_texts(items: pa.Table, text: TextConfig) -> list[str]:
    """Texts (I,) that BM25 indexes: GenSR's fields, each cut to its budget, counted in words instead of tokens."""
    named = [f"{t} {b}" for t, b in zip(items["title"].to_pylist(), items["brand"].to_pylist(), strict=True)]
    fields = [(named, text.title_tokens), (items["description"].to_pylist(), text.description_tokens)]
    if text.include_category:
        fields.append((items["category_text"].to_pylist(), text.category_tokens))
    cut = [[" ".join(value.split(maxsplit=budget)[:budget]) for value in values] for values, budget in fields]
    return [" ".join(parts) for parts in zip(*cut, strict=True)]


def bm25(dataset: PreparedDataset, text: TextConfig, queries: IntArray) -> Scorer:
    """BM25 (Lucene's variant, k1 = 1.5, b = 0.75) of the query's words in the item's text.

    Lower-cased words of two characters or more, English stop words dropped, no stemming. Only the
    candidates are scored. An item without text, or a query without a known word, scores 0. `queries` (Q,)
    are the query_idx that will be asked about.
    """
    corpus = bm25s.tokenize(item_texts(dataset.items, text), stopwords="en", show_progress=False)
    if not corpus.vocab:  # the library cannot index a catalogue without a word
        return lambda samples, lists: np.zeros(lists.shape, np.float32)
    index = bm25s.BM25(method="lucene")
    index.index(corpus, show_progress=False)
    # The index holds one finished score per (word, item); summed over the words of a query they are BM25.
    stored, words = index.scores, len(index.scores["indptr"]) - 1
    by_word = sparse.csc_array(
        (stored["data"], stored["indices"], stored["indptr"]), (dataset.n_items, words)
    )
    grown = sparse.hstack([by_word, sparse.csc_array((dataset.n_items, 1), dtype=np.float32)])
    scores = sparse.csr_array(grown)  # (I, words + 1): the last column is empty and pads short queries
    scores.sort_indices()
    asked = [dataset.queries[query] for query in queries]
    tokens = bm25s.tokenize(asked, stopwords="en", return_ids=False, show_progress=False)
    known = [[index.vocab_dict[word] for word in found if word in index.vocab_dict] for found in tokens]
    word_of = np.full((len(queries), max(map(len, known), default=1) or 1), words, np.int64)  # (Q, longest)
    for row, ids in enumerate(known):
        word_of[row, : len(ids)] = ids

    def score(samples: Samples, lists: IntArray) -> npt.NDArray[Any]:
        asked_words = word_of[np.searchsorted(queries, samples.query)]  # (b, longest)
        total = np.zeros(lists.shape, np.float32)
        for word in asked_words.T:
            found = scores[lists.ravel(), np.repeat(word, lists.shape[1])]
            total += np.asarray(found).reshape(lists.shape)
        return total

    return score


def same_query(dataset: PreparedDataset) -> Scorer:
    """1 where the candidate carries the sample's query, else 0.

    Two sources say which items carry a query, both known before the sample: training searches that ended at
    the item, and, where queries are made from category paths (amazon), the queries that an item's own paths
    make, which `item_queries.parquet` lists. The second is a catalogue fact and no leak: it is there for an
    item nobody ever bought. But it does make the positive carry its query always, so only other items of
    the same category can stand level with it: this ranker shows how much of the task is matching alone, and
    what a model must add.
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
