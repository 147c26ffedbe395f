"""BM25 of queries over item texts, for the reference ranker and for hard negatives.

``bm25s`` is imported only where it is used: it starts JAX where JAX is installed, and JAX reserves most of a GPU's
memory. Training without BM25 keeps that memory.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy import sparse

from gensr_model.config.model import TextConfig

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]


# Runs of Chinese and Japanese characters.
_NO_BLANKS = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]+")
# Two letters or more. From Hebrew to Khmer, vowel signs belong to a word, although they are no letters to Python.
_SIGNS = r"\u0300-\u036f\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0900-\u0963\u0966-\u0dff\u0e00-\u109f\u1780-\u17ff"
_WORD = rf"(?u)[\w{_SIGNS}]{{2,}}"


class TextIndex(NamedTuple):
    """BM25 (Lucene's variant, k1 = 1.5, b = 0.75) of W words in I items.

    Words have two characters or more and are not stemmed. Case is folded (``ß`` is ``ss``), and English stop words do
    not count. Text in scripts without blanks between words is cut into pairs of characters.
    """

    by_word: sparse.csr_array  # (W + 1, I): a query's score is the sum over its words; the last row is empty
    words: dict[str, int]


class Matches(NamedTuple):
    """M pairs of a query's row and an item that contains one of its words, ordered by query."""

    query: IntArray  # (M,)
    item: IntArray  # (M,)
    score: FloatArray  # (M,) above 0


def item_texts(items: pa.Table, text: TextConfig) -> list[str]:
    """Texts (I,) that BM25 indexes: GenSR's fields, each cut to its budget, counted in words instead of tokens.

    The texts leave out searches: BM25 ranks by an item's fields, and the reference same_query ranks by searches.
    """
    named = [f"{t} {b}" for t, b in zip(items["title"].to_pylist(), items["brand"].to_pylist(), strict=True)]
    fields = [(named, text.title_tokens), (items["description"].to_pylist(), text.description_tokens)]
    if text.include_category:
        fields.append((items["category_text"].to_pylist(), text.category_tokens))
    cut = [[" ".join(value.split(maxsplit=budget)[:budget]) for value in values] for values, budget in fields]
    return [" ".join(parts) for parts in zip(*cut, strict=True)]


def with_blanks(text: str) -> str:
    """The text with its case folded, and blanks around pairs of Chinese or Japanese characters: ``红色鞋`` has two."""
    return text if text.isascii() else _NO_BLANKS.sub(_pairs, text.casefold())


def _pairs(run: re.Match[str]) -> str:
    letters = run[0]
    pairs = [letters[n : n + 2] for n in range(len(letters) - 1)] or [
        f"{letters}_"
    ]  # a single character alone would be no word
    return f" {' '.join(pairs)} "


def index_texts(texts: list[str]) -> TextIndex:
    """Build the index of item texts (I,)."""
    import bm25s

    empty: sparse.csr_array = sparse.csr_array(np.zeros((1, len(texts)), np.float32))
    spaced = list(map(with_blanks, texts))
    corpus = bm25s.tokenize(spaced, stopwords="en", token_pattern=_WORD, show_progress=False)
    if not corpus.vocab:  # the library cannot index a catalogue without a word
        return TextIndex(empty, {})
    index = bm25s.BM25(method="lucene")
    index.index(corpus, show_progress=False)
    # The index holds one finished score per (word, item); summed over the words of a query they are BM25.
    stored, words = index.scores, len(index.scores["indptr"]) - 1
    by_word: sparse.csr_array = sparse.csr_array(
        (stored["data"], stored["indices"], stored["indptr"]), shape=(words, len(texts))
    )
    return TextIndex(sparse.csr_array(sparse.vstack([by_word, empty])), index.vocab_dict)


def split_words(texts: list[str]) -> list[list[str]]:
    """The words of each text in order, as ``TextIndex`` defines them."""
    import bm25s

    spaced = list(map(with_blanks, texts))
    words: list[list[str]] = bm25s.tokenize(
        spaced, stopwords="en", token_pattern=_WORD, return_ids=False, show_progress=False
    )
    return words


def query_words(index: TextIndex, queries: list[str]) -> IntArray:
    """Rows of ``by_word`` for the words of each query, (Q, longest query).

    The last row of ``by_word``, which is empty, fills short queries.
    """
    nothing = index.by_word.shape[0] - 1
    known = [[index.words[word] for word in text if word in index.words] for text in split_words(queries)]
    rows = np.full((len(queries), max(map(len, known), default=1) or 1), nothing, np.int64)
    for row, ids in enumerate(known):
        rows[row, : len(ids)] = ids
    return rows


def best_matches(index: TextIndex, queries: list[str], keep: int) -> Matches:
    """The ``keep`` best items of each query, and every item whose score equals that of the last one.

    Memory holds the scores of all matches of all ``queries``, so call it with few queries at a time.
    """
    words = query_words(index, queries)
    rows = np.repeat(np.arange(len(queries)), words.shape[1])
    ones = np.ones(words.size, np.float32)
    asked: sparse.csr_array = sparse.csr_array(
        (ones, (rows, words.ravel())), shape=(len(queries), index.by_word.shape[0])
    )
    scores = sparse.csr_array(asked @ index.by_word)  # (Q, I)
    least = np.zeros(len(queries), np.float32)  # score of the query's last item
    for row, (start, stop) in enumerate(zip(scores.indptr[:-1], scores.indptr[1:], strict=True)):
        if stop - start > keep:
            least[row] = np.partition(scores.data[start:stop], stop - start - keep)[stop - start - keep]
    query = np.repeat(np.arange(len(queries)), np.diff(scores.indptr))
    best = scores.data >= least[query]
    return Matches(query[best], scores.indices[best].astype(np.int64), scores.data[best])
