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

from gensr_model.config.model import FullRankingConfig, ModelConfig, TextConfig
from gensr_model.data.prepared import IntArray, PreparedDataset
from gensr_model.errors import ConfigError

PAD, EOS, UNK = "<pad>", "</s>", "<unk>"
ANSWERS = ("No", "Yes")  # index = label


class ItemText(NamedTuple):
    """Token bags of I items: item i has ``tokens[offsets[i]:offsets[i + 1]]``."""

    tokens: Tensor  # (T,)
    offsets: Tensor  # (I + 1,)
    weights: Tensor | None = None  # (T,) a token's share of its item; shares sum to 1; None for equal shares
    cold_weights: Tensor | None = None  # (T,) the same without searches; None where texts have no searches
    lone_query: Tensor | None = None  # (T,) the query of a token that only one training search contributed; else -1


class PromptTable(NamedTuple):
    """Token ids of every prompt: row q for query q, and the last row for recommendation.

    ``ids`` holds the pad id at the four slots and after the end; ``slots`` holds the places of the slots. ``query``
    repeats the query's tokens for modules that read the query outside the prompt.
    """

    ids: Tensor  # (Q + 1, L)
    length: Tensor  # (Q + 1,)
    slots: Tensor  # (Q + 1, 4), or (Q + 1, 2) for full ranking: CF, semantic
    query: Tensor  # (Q + 1, K)
    query_length: Tensor  # (Q + 1,), 0 for recommendation


def train_tokenizer(dataset: PreparedDataset, config: ModelConfig) -> Tokenizer:
    """Train a byte-pair tokenizer on the corpus, offline, for a backbone trained from scratch.

    It sees item texts and queries with their case folded, and knows ``Yes`` and ``No`` as whole tokens.
    """
    tokenizer = Tokenizer(models.BPE(unk_token=UNK))
    # The queries of own logs are case-folded: "giesskanne" in a query must equal "Gießkanne" in a title.
    folded = [normalizers.Replace(letter, letter.casefold()) for letter in ("ß", "ς")]
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase(), *folded])
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
        # Repeated, so that the words of the prompts become whole tokens.
        yield from prompt.segments * 50


def load_tokenizer(path: Path) -> Tokenizer:
    """Load a ``tokenizer.json``, without the truncation and padding that some files set."""
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def special_id(tokenizer: Tokenizer, token: str) -> int:
    """Id of ``<pad>`` or ``</s>``. Raises ConfigError where the tokenizer is no T5's."""
    token_id = tokenizer.token_to_id(token)
    if token_id is None:
        raise ConfigError(
            f"the tokenizer has no {token!r} token, so it is no T5's. Set model.backbone.name_or_path to "
            "a T5 with its own tokenizer."
        )
    return int(token_id)


def answer_ids(tokenizer: Tokenizer) -> tuple[int, int]:
    """Token ids of No and Yes. Raises ConfigError where one is not a single token."""
    ids = []
    for word in ANSWERS:
        encoded = tokenizer.encode(word, add_special_tokens=False).ids
        if len(encoded) != 1:
            raise ConfigError(
                f"the tokenizer splits {word!r} into {len(encoded)} tokens, but the answer must be one "
                "token. Set model.backbone.name_or_path to another T5."
            )
        ids.append(encoded[0])
    return ids[0], ids[1]


def encode_texts(tokenizer: Tokenizer, texts: Iterable[str], budget: int) -> list[list[int]]:
    """Token ids of each text, cut to the budget."""
    return [e.ids[:budget] for e in tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]


class FieldTokens(NamedTuple):
    """The tokens of I items, T in all: item after item, and within an item field after field."""

    tokens: IntArray  # (T,)
    lengths: IntArray  # (I, fields)

    @property
    def place(self) -> IntArray:
        """(T,) the field of each token, counted over all items: item · fields + field."""
        return np.repeat(np.arange(self.lengths.size), self.lengths.ravel())

    def item_text(self, *weights: NDArray[np.float64]) -> ItemText:
        """Token bags with ``weights`` and ``cold_weights``, each (T,), where they are given."""
        offsets = np.concatenate([[0], np.cumsum(self.lengths.sum(axis=1))])
        shares = (torch.from_numpy(values.astype(np.float32)) for values in weights)
        return ItemText(torch.from_numpy(self.tokens), torch.from_numpy(offsets), *shares)


def encode_items(tokenizer: Tokenizer, items: pa.Table, config: TextConfig) -> ItemText:
    """Token bags of all items. Each field is cut to its budget.

    Args:
        items: the columns title, brand and description, and category_text where the config includes it.
    """
    fields = join_fields(encode_fields(tokenizer, items, config))
    if config.pooling == "tokens":
        return fields.item_text()
    return fields.item_text(token_weights(field_shares(fields.lengths, config.pooling), fields.place))


def encode_fields(tokenizer: Tokenizer, items: pa.Table, config: TextConfig) -> list[list[list[int]]]:
    """The tokens of all items, field by field."""
    named = pc.binary_join_element_wise(items["title"], items["brand"], " ")
    fields = [
        encode_texts(tokenizer, named.to_pylist(), config.title_tokens),
        encode_texts(tokenizer, items["description"].to_pylist(), config.description_tokens),
    ]
    if config.include_category:
        fields.append(encode_texts(tokenizer, items["category_text"].to_pylist(), config.category_tokens))
    return fields


def join_fields(fields: list[list[list[int]]]) -> FieldTokens:
    """The tokens of all fields, item after item."""
    bags = [list(chain.from_iterable(parts)) for parts in zip(*fields, strict=True)]
    lengths = np.array([[len(bag) for bag in field] for field in fields], np.int64).T
    tokens = np.fromiter((token for bag in bags for token in bag), np.int64, int(lengths.sum()))
    return FieldTokens(tokens, lengths)


def field_shares(lengths: IntArray, pooling: Literal["tokens", "fields"]) -> NDArray[np.float64]:
    """(I, fields) weight of each field in its item, by ``pooling``.

    With ``tokens`` it is the number of the field's tokens; with ``fields`` all fields that have a token weigh the same.
    """
    shares: NDArray[np.float64] = (lengths if pooling == "tokens" else lengths > 0).astype(np.float64)
    return shares


def token_weights(
    shares: NDArray[np.float64], place: IntArray, values: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """(T,) a token's share of its item's vector.

    Args:
        shares: (I, fields) weights of fields in their item, scaled here to sum to 1.
        place: (T,) as ``FieldTokens.place``.
        values: (T,) weights of tokens in their field. Without them, or where they sum to 0, tokens weigh the same.
    """
    total = shares.sum(axis=1, keepdims=True)
    shares = np.divide(shares, total, out=np.zeros_like(shares), where=total > 0)
    if values is None:
        values = np.ones(len(place))
    values = np.where(np.bincount(place, values)[place] > 0, values, 1.0)
    weights: NDArray[np.float64] = shares.ravel()[place] * (values / np.bincount(place, values)[place])
    return weights


def encode_prompts(
    tokenizer: Tokenizer, queries: list[str], config: ModelConfig, full: FullRankingConfig | None = None
) -> PromptTable:
    """Prompts of all queries and of recommendation (Eq. 9): five segments around four slots, then the end token.

    With ``full``, for full ranking (§6.3), they are three segments around the two slots of the history.
    """
    eos, pad = special_id(tokenizer, EOS), special_id(tokenizer, PAD)
    cut = encode_texts(tokenizer, queries, config.max_query_tokens)
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
    query_ids = np.full((len(flat), max(1, *query_lengths)), pad, np.int64)
    for row, query in enumerate(cut):
        query_ids[row, : len(query)] = query
    return PromptTable(
        *(torch.from_numpy(ids), torch.tensor(lengths), torch.from_numpy(slots)),
        *(torch.from_numpy(query_ids), torch.tensor(query_lengths)),
    )


def _pieces(tokenizer: Tokenizer, segments: Sequence[str]) -> list[list[list[int]]]:
    """The tokens of each segment, cut at the place of the query."""
    return [encode_texts(tokenizer, segment.split("{query}"), budget=10_000) for segment in segments]


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
