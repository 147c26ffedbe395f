"""Text to token ids: the tokenizer, item texts (one bag of tokens per item) and prompts (one row per query)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch import Tensor

from gensr_model.config.model import FullRankingConfig, ModelConfig, SearchesInTextConfig, TextConfig
from gensr_model.data.prepared import IntArray, PreparedDataset
from gensr_model.errors import ConfigError

PAD, EOS, UNK = "<pad>", "</s>", "<unk>"
ANSWERS = ("No", "Yes")  # index = label
SEARCHES = "searches"  # the column of an items table that ``data/searches.py`` adds


class ItemText(NamedTuple):
    """Token bags of I items: item i has ``tokens[offsets[i]:offsets[i + 1]]``."""

    tokens: Tensor  # (T,)
    offsets: Tensor  # (I + 1,)
    weights: Tensor | None = None  # (T,) a token's share of its item, summing to 1; None for equal shares
    cold_weights: Tensor | None = (
        None  # (T,) the same without searches; None where there are none in the text
    )
    lone_query: Tensor | None = (
        None  # (T,) the query a token is from, where one search of training said it; else -1
    )


class PromptTable(NamedTuple):
    """Token ids of every prompt: row q for query q, the last row for recommendation.

    ``ids`` holds the pad id at the four slots and after the end; ``slots`` says where the slots are.
    ``query`` holds the query's own tokens once more, for what reads it outside the prompt.
    """

    ids: Tensor  # (Q + 1, L)
    length: Tensor  # (Q + 1,)
    slots: Tensor  # (Q + 1, 4), or (Q + 1, 2) for full ranking: CF, semantic
    query: Tensor  # (Q + 1, K)
    query_length: Tensor  # (Q + 1,), 0 for recommendation


def train_tokenizer(dataset: PreparedDataset, config: ModelConfig) -> Tokenizer:
    """Byte-pair tokenizer of the corpus itself, for a backbone trained from scratch, offline.

    It sees item texts and queries, lower-cased, and knows ``Yes`` and ``No`` as whole tokens.
    """
    tokenizer = Tokenizer(models.BPE(unk_token=UNK))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.Digits(individual_digits=False)]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=config.backbone.vocab_size - len(ANSWERS),
        special_tokens=[PAD, EOS, UNK],
        min_frequency=2,
        show_progress=False,
    )
    tokenizer.train_from_iterator(_corpus(dataset, config), trainer)
    tokenizer.add_tokens([AddedToken(word, normalized=False, single_word=True) for word in ANSWERS])
    return tokenizer


def _corpus(dataset: PreparedDataset, config: ModelConfig) -> Iterator[str]:
    for column in ("title", "brand", "description", "category_text"):
        yield from dataset.items[column].to_pylist()
    yield from dataset.queries
    for prompt in (config.recommendation_prompt, config.search_prompt):
        # Often enough that a prompt's own words become whole tokens.
        yield from prompt.segments * 50


def load_tokenizer(path: Path) -> Tokenizer:
    """A ``tokenizer.json`` without the truncation and padding that some files carry."""
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def special_id(tokenizer: Tokenizer, token: str) -> int:
    """Id of ``<pad>`` or ``</s>``; ConfigError where the tokenizer is no T5's."""
    found = tokenizer.token_to_id(token)
    if found is None:
        raise ConfigError(
            f"the tokenizer has no {token!r} token; the backbone must be a T5 with its own tokenizer"
        )
    return int(found)


def answer_ids(tokenizer: Tokenizer) -> tuple[int, int]:
    """Token ids of No and Yes; ConfigError where one is not a single token."""
    ids = []
    for word in ANSWERS:
        encoded = tokenizer.encode(word, add_special_tokens=False).ids
        if len(encoded) != 1:
            raise ConfigError(
                f"the tokenizer splits {word!r} into {len(encoded)} tokens; the answer must be one token"
            )
        ids.append(encoded[0])
    return ids[0], ids[1]


def _encode(tokenizer: Tokenizer, texts: Iterable[str], budget: int) -> list[list[int]]:
    return [e.ids[:budget] for e in tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]


def encode_items(
    tokenizer: Tokenizer,
    items: pa.Table,
    config: TextConfig,
    searches: SearchesInTextConfig | None = None,
    known: pa.Table | None = None,
) -> ItemText:
    """Token bags of all items; each field is cut to its own budget (DESIGN §4, semantic item).

    Args:
        items: the columns title, brand, description and category_text; where ``searches`` are on, also ``SEARCHES``.
        searches: departure AK; None or not enabled for a text without them.
        known: the items of training where ``items`` are others: their searches say how rare a word is.
    """
    named = pc.binary_join_element_wise(items["title"], items["brand"], " ")
    fields = [
        _encode(tokenizer, named.to_pylist(), config.title_tokens),
        _encode(tokenizer, items["description"].to_pylist(), config.description_tokens),
    ]
    if config.include_category:
        fields.append(_encode(tokenizer, items["category_text"].to_pylist(), config.category_tokens))
    rarity = None
    if searches is not None and searches.enabled:
        fields.append(_encode(tokenizer, items[SEARCHES].to_pylist(), searches.tokens))
        counted = fields[-1]
        if known is not None:
            counted = _encode(tokenizer, known[SEARCHES].to_pylist(), searches.tokens)
        rarity = _rarity(counted, tokenizer.get_vocab_size())
    bags = [list(chain.from_iterable(parts)) for parts in zip(*fields, strict=True)]
    lengths = np.array([[len(bag) for bag in field] for field in fields], np.int64).T  # (I, fields)
    tokens = np.fromiter((token for bag in bags for token in bag), np.int64, int(lengths.sum()))
    offsets = np.concatenate([[0], np.cumsum(lengths.sum(axis=1))])
    share = 0.0 if searches is None else searches.share
    weights = [_weights(tokens, lengths, config.pooling, rarity, share)]
    if rarity is not None:
        weights.append(_cold_weights(weights[0], lengths))
    shares = (None if w is None else torch.from_numpy(w.astype(np.float32)) for w in weights)
    return ItemText(torch.from_numpy(tokens), torch.from_numpy(offsets), *shares)


def _weights(
    tokens: IntArray,
    lengths: IntArray,
    pooling: Literal["tokens", "fields"],
    rarity: NDArray[np.float64] | None,
    searches_share: float,
) -> NDArray[np.float64] | None:
    """(T,) a token's share of its item's vector, from the lengths (I, fields); None where all tokens share alike.

    With the rarity (V,) of tokens the last field is that of the searches, which has ``searches_share`` of the vector.
    """
    if pooling == "tokens" and rarity is None:
        return None
    shares = (lengths if pooling == "tokens" else lengths > 0).astype(np.float64)  # (I, fields)
    values = np.ones(len(tokens))
    place = np.repeat(np.arange(lengths.size), lengths.ravel())  # (T,) which field of which item
    if rarity is not None:
        own, asked = shares[:, :-1], shares[:, -1] > 0
        own *= (1 - searches_share) / np.maximum(own.sum(axis=1, keepdims=True), 1)
        shares[:, -1] = asked * searches_share
        of_searches = place % lengths.shape[1] == lengths.shape[1] - 1
        values[of_searches] = rarity[tokens[of_searches]]
    total = shares.sum(axis=1, keepdims=True)
    shares = np.divide(shares, total, out=np.zeros_like(shares), where=total > 0)
    weights: NDArray[np.float64] = shares.ravel()[place] * _within(values, place)
    return weights


def _cold_weights(weights: NDArray[np.float64] | None, lengths: IntArray) -> NDArray[np.float64]:
    """(T,) ``weights`` without the last field's, the searches', again summing to 1, or to 0 where nothing is left."""
    assert weights is not None
    fields = lengths.shape[1]
    place = np.repeat(np.arange(lengths.size), lengths.ravel())
    item = place // fields
    left = np.where(place % fields == fields - 1, 0.0, weights)
    total = np.bincount(item, left, minlength=len(lengths))[item]
    return np.divide(left, total, out=np.zeros_like(left), where=total > 0)


def _within(values: NDArray[np.float64], place: IntArray) -> NDArray[np.float64]:
    """Values as shares of their sum over the same place; where that is 0 the place's tokens share alike."""
    sums = np.bincount(place, values)
    values = np.where(sums[place] > 0, values, 1.0)
    shares: NDArray[np.float64] = values / np.bincount(place, values)[place]
    return shares


def _rarity(bags: list[list[int]], vocabulary: int) -> NDArray[np.float64]:
    """(V,) ln of the number of items over that of those which have the token in their bag, or over 1."""
    lengths = np.fromiter(map(len, bags), np.int64, len(bags))
    tokens = np.fromiter(chain.from_iterable(bags), np.int64, int(lengths.sum()))
    distinct = np.unique(np.stack([np.repeat(np.arange(len(bags)), lengths), tokens]), axis=1)[1]
    rarity: NDArray[np.float64] = np.log(
        len(bags) / np.maximum(np.bincount(distinct, minlength=vocabulary), 1)
    )
    return rarity


def encode_prompts(
    tokenizer: Tokenizer, queries: list[str], config: ModelConfig, full: FullRankingConfig | None = None
) -> PromptTable:
    """Prompts of all queries and of recommendation (Eq. 9): five segments around four slots, then the end token.

    Those of ``full``, for full ranking (§6.3), are three segments around the two slots of the history.
    """
    eos, pad = special_id(tokenizer, EOS), special_id(tokenizer, PAD)
    cut = _encode(tokenizer, queries, config.max_query_tokens)
    prompts = config if full is None else full
    search = _pieces(tokenizer, prompts.search_prompt.segments)
    recommend = _pieces(tokenizer, prompts.recommendation_prompt.segments)
    rows = [*(_insert(search, query) for query in cut), _insert(recommend, [])]
    flat = [_join(segments, pad, eos) for segments in rows]
    lengths = [len(ids) for ids, _ in flat]
    ids = np.full((len(flat), max(lengths)), pad, np.int64)
    for row, (tokens, _) in enumerate(flat):
        ids[row, : len(tokens)] = tokens
    slots = np.array([slot for _, slot in flat], np.int64)
    query_lengths = [*map(len, cut), 0]
    alone = np.full((len(flat), max(1, *query_lengths)), pad, np.int64)
    for row, found in enumerate(cut):
        alone[row, : len(found)] = found
    return PromptTable(
        *(torch.from_numpy(ids), torch.tensor(lengths), torch.from_numpy(slots)),
        *(torch.from_numpy(alone), torch.tensor(query_lengths)),
    )


def _pieces(tokenizer: Tokenizer, segments: Sequence[str]) -> list[list[list[int]]]:
    """Per segment its tokens, cut where the query goes in."""
    return [_encode(tokenizer, segment.split("{query}"), budget=10_000) for segment in segments]


def _insert(pieces: list[list[list[int]]], query: list[int]) -> list[list[int]]:
    segments = []
    for first, *rest in pieces:
        tokens = list(first)
        for after in rest:
            tokens += query + after
        segments.append(tokens)
    return segments


def _join(segments: list[list[int]], pad: int, eos: int) -> tuple[list[int], list[int]]:
    tokens, slots = list(segments[0]), []
    for segment in segments[1:]:
        slots.append(len(tokens))
        tokens += [pad, *segment]
    return [*tokens, eos], slots
