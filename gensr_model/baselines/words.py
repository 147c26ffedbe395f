"""Queries and item texts as word ids: one vocabulary for all baselines. KuaiSAR's anonymised words are words too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from gensr_model.config.model import TextConfig
from gensr_model.data.bm25 import item_texts
from gensr_model.data.prepared import IntArray, PreparedDataset
from gensr_model.data.text import ItemText

PAD, UNKNOWN, FIRST = 0, 1, 2  # word ids: padding, a word outside the vocabulary, the vocabulary's first word
MAX_WORDS = 50_000  # most frequent first
MAX_QUERY_WORDS = 16


class Lexicon(NamedTuple):
    """A vocabulary, and a dataset's queries and item texts in it."""

    words: list[str]  # word id = place + FIRST
    queries: IntArray  # (Q + 1, L) word ids, padded on the left; the last row, at index -1, is the empty query
    item_text: ItemText | None  # word ids of each item's text, words outside the vocabulary left out
    fields: TextConfig | None  # the fields of an item's text; None where it is not read

    @property
    def n_words(self) -> int:
        """Number of word ids, with padding and unknown."""
        return len(self.words) + FIRST

    @staticmethod
    def build(dataset: PreparedDataset, text: TextConfig | None) -> Lexicon:
        """Build the vocabulary of training queries and, with ``text``, of the item text fields that it names.

        A word of a later query that neither has is unknown. Without ``text`` nothing depends on item texts.
        """
        train = np.unique(dataset.samples("train").query)
        texts = [dataset.queries[query] for query in train[train >= 0]]
        described = item_texts(dataset.items, text) if text is not None else []
        counts = _split(texts + described)[0].value_counts()
        counted = pa.table({"word": counts.field("values"), "count": counts.field("counts")})
        # Equally frequent words are in alphabetical order, so that ids do not depend on the order of samples.
        counted = counted.sort_by([("count", "descending"), ("word", "ascending")])
        return Lexicon.from_words(counted["word"][:MAX_WORDS].to_pylist(), dataset, text)

    @staticmethod
    def from_words(words: list[str], dataset: PreparedDataset, text: TextConfig | None) -> Lexicon:
        """The dataset's queries and item texts in a given vocabulary."""
        described = None if text is None else _bags(words, item_texts(dataset.items, text))
        return Lexicon(words, _left_padded(words, dataset.queries), described, text)


def _split(texts: Sequence[str]) -> tuple[pa.Array, IntArray]:
    """All words (W,) of the texts, in lower case, of letters and digits; and the text of each word (W,)."""
    spaced = pc.replace_substring_regex(pc.utf8_lower(pa.array(texts, pa.string())), r"[^\pL\pN]+", " ")
    lists = pc.utf8_split_whitespace(spaced)
    words, text = pc.list_flatten(lists), pc.list_parent_indices(lists)
    nonempty = pc.not_equal(words, "")
    return words.filter(nonempty), text.filter(nonempty).to_numpy().astype(np.int64)


def _ids(vocabulary: list[str], words: pa.Array) -> IntArray:
    """(W,) word ids."""
    place = pc.index_in(words, value_set=pa.array(vocabulary, pa.string()))
    return pc.fill_null(pc.add(place.cast(pa.int64()), FIRST), UNKNOWN).to_numpy().astype(np.int64)


def _left_padded(vocabulary: list[str], texts: list[str]) -> IntArray:
    words, text = _split(texts)
    place = np.arange(len(text)) - np.searchsorted(text, text)  # (W,) of the word in its text
    fits = place < MAX_QUERY_WORDS
    ids, text, place = _ids(vocabulary, words)[fits], text[fits], place[fits]
    length = np.bincount(text, minlength=len(texts))
    width = max(1, int(length.max(initial=0)))
    table = np.full((len(texts) + 1, width), PAD, np.int64)
    table[text, width - length[text] + place] = ids
    return table


def _bags(vocabulary: list[str], texts: list[str]) -> ItemText:
    words, text = _split(texts)
    ids = _ids(vocabulary, words)
    known = ids != UNKNOWN
    offsets = np.searchsorted(text[known], np.arange(len(texts) + 1)).astype(np.int64)
    return ItemText(torch.from_numpy(ids[known]), torch.from_numpy(offsets))
