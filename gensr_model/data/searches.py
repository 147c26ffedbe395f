"""Training searches as a field of item text (``departures.searches_in_text``), and the source of its words."""

from __future__ import annotations

from itertools import chain
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from gensr_model.config.model import SearchesInTextConfig, TextConfig
from gensr_model.data.prepared import IntArray, PreparedDataset
from gensr_model.data.text import ItemText, encode_fields, encode_texts, field_shares, join_fields, token_weights

SEARCHES = "searches"  # the column of an items table that ``with_searches`` adds


class SearchPairs(NamedTuple):
    """The distinct pairs (P,) of an item and a query that found it.

    Pairs are sorted by item, and an item's most frequent query comes first.
    """

    item: IntArray
    query: IntArray
    times: IntArray  # number of training searches with this pair


def search_pairs(dataset: PreparedDataset) -> SearchPairs:
    """The pairs in training's searches. Searches of other splits are not read."""
    train = dataset.samples("train")
    searched = train.query >= 0
    pair = train.item[searched] * dataset.n_queries + train.query[searched]
    pair, times = np.unique(pair, return_counts=True)
    item, query = np.divmod(pair, max(1, dataset.n_queries))
    order = np.lexsort((query, -times, item))
    return SearchPairs(item[order], query[order], times[order])


def with_searches(dataset: PreparedDataset) -> pa.Table:
    """The items with the column ``SEARCHES``: the distinct queries that found each item, joined by spaces.

    The text is empty for an item without a search.
    """
    pairs = search_pairs(dataset)
    lists = pa.table({"item": pairs.item, "text": _texts(dataset, pairs)})
    joined = lists.group_by("item", use_threads=False).aggregate([("text", "list")])
    place = pc.index_in(pa.array(np.arange(dataset.n_items)), value_set=joined["item"].combine_chunks())
    text = pc.fill_null(pc.binary_join(joined["text_list"], " ").take(place), "")
    return dataset.items.append_column(SEARCHES, text)


def encode_with_searches(
    tokenizer: Tokenizer,
    items: pa.Table,
    text: TextConfig,
    searches: SearchesInTextConfig,
    known: pa.Table | None = None,
) -> ItemText:
    """As ``encode_items``, with the searches as the last field. Within the field rare tokens weigh more.

    Args:
        items: the result of ``with_searches``.
        known: the items of training where ``items`` are others. The rarity of words is counted in their searches.
    """
    asked = encode_texts(tokenizer, items[SEARCHES].to_pylist(), searches.tokens)
    fields = join_fields([*encode_fields(tokenizer, items, text), asked])
    if known is not None:
        asked = encode_texts(tokenizer, known[SEARCHES].to_pylist(), searches.tokens)
    shares, (_, count) = field_shares(fields.lengths, text.pooling), fields.lengths.shape
    shares[:, :-1] *= (1 - searches.share) / np.maximum(shares[:, :-1].sum(axis=1, keepdims=True), 1)
    shares[:, -1] = np.where(shares[:, -1] > 0, searches.share, 0.0)
    is_search = fields.place % count == count - 1  # (T,)
    values = np.where(is_search, _rarity(asked, tokenizer.get_vocab_size())[fields.tokens], 1.0)
    weights = token_weights(shares, fields.place, values)
    return fields.item_text(weights, _cold_weights(weights, is_search, fields.place // count, len(shares)))


def _rarity(bags: list[list[int]], vocabulary: int) -> NDArray[np.float64]:
    """(V,) ln(items / items whose bag has the token); a token in no bag counts as in one."""
    lengths = np.fromiter(map(len, bags), np.int64, len(bags))
    tokens = np.fromiter(chain.from_iterable(bags), np.int64, int(lengths.sum()))
    distinct = np.unique(np.stack([np.repeat(np.arange(len(bags)), lengths), tokens]), axis=1)[1]
    rarity: NDArray[np.float64] = np.log(len(bags) / np.maximum(np.bincount(distinct, minlength=vocabulary), 1))
    return rarity


def _cold_weights(
    weights: NDArray[np.float64], is_search: NDArray[np.bool_], item: IntArray, items: int
) -> NDArray[np.float64]:
    """(T,) ``weights`` without those of searches. They sum to 1 per item, or to 0 where nothing remains."""
    left = np.where(is_search, 0.0, weights)
    total = np.bincount(item, left, minlength=items)[item]
    return np.divide(left, total, out=np.zeros_like(left), where=total > 0)


def lone_queries(
    tokenizer: Tokenizer, dataset: PreparedDataset, items: pa.Table, text: ItemText, budget: int
) -> Tensor:
    """(T,) for each token of ``text``, the query that contributed it, where that query found the item only once.

    The value is −1 elsewhere.

    Args:
        items: the result of ``with_searches(dataset)``.
        text: the token bags of ``items``; the last field of an item is its searches, of at most ``budget`` tokens.
    """
    pairs = search_pairs(dataset)
    texts = _texts(dataset, pairs)
    ends = np.cumsum(pc.utf8_length(texts).to_numpy(zero_copy_only=False) + 1)  # with the space that follows
    starts = np.concatenate([[0], ends])[np.searchsorted(pairs.item, np.arange(dataset.n_items))]
    encoded = tokenizer.encode_batch(items[SEARCHES].to_pylist(), add_special_tokens=False)
    last = [[end - 1 for _, end in e.offsets[:budget]] for e in encoded]  # a token's last character
    lengths = np.array([len(places) for places in last], np.int64)
    character = np.fromiter((place for places in last for place in places), np.int64, int(lengths.sum()))
    # The space before a query counts as part of it, because a tokenizer may make a token of it.
    pair = np.searchsorted(ends - 1, np.repeat(starts, lengths) + np.maximum(character, 0), side="right")
    queries = np.where(pairs.times[pair] == 1, pairs.query[pair], -1)
    before = np.repeat(np.cumsum(lengths) - lengths, lengths)
    place = np.repeat(text.offsets[1:].numpy() - lengths, lengths) + np.arange(len(pair)) - before
    lone = torch.full(text.tokens.shape, -1, dtype=torch.int32)
    lone[torch.from_numpy(place)] = torch.from_numpy(queries.astype(np.int32))
    return lone


def _texts(dataset: PreparedDataset, pairs: SearchPairs) -> pa.Array:
    return pa.array(dataset.queries, pa.string()).take(pa.array(pairs.query))
