"""Vectors of item texts and queries as means of token vectors, and the buffers with a dataset's texts."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gensr_model.data.text import ItemText, PromptTable


class TextBuffers(nn.Module):
    """Texts that belong to a dataset, not to the model: token bags of its items and prompts of its queries."""

    def __init__(self, bags: ItemText, prompts: PromptTable) -> None:
        super().__init__()
        self.weights: Tensor | None
        self.cold_weights: Tensor | None
        self.lone_query: Tensor | None
        for name, tensor in bags._asdict().items():
            self.register_buffer(name, tensor, persistent=False)
        self.set_prompts(prompts)

    def set_prompts(self, prompts: PromptTable) -> None:
        """Replace the prompts by those of another list of queries."""
        device = self.get_buffer("tokens").device
        for name, tensor in prompts._asdict().items():
            self.register_buffer(f"prompt_{name}", tensor.to(device), persistent=False)

    @property
    def bags(self) -> ItemText:
        """Token bags of all items."""
        bags = self.get_buffer("tokens"), self.get_buffer("offsets")
        return ItemText(*bags, self.weights, self.cold_weights, self.lone_query)

    def longest(self, query: Tensor) -> int:
        """Length of the longest prompt of queries (B,), in tokens."""
        return int(self.get_buffer("prompt_length")[query].max())

    def prompts(self, query: Tensor) -> PromptTable:
        """The prompt rows of queries (B,), cut to the longest. Query -1 is the last row: recommendation."""
        length = self.get_buffer("prompt_length")[query]
        ids = self.get_buffer("prompt_ids")[query, : int(length.max())]
        rest = (self.get_buffer(f"prompt_{name}")[query] for name in ("slots", "query", "query_length"))
        return PromptTable(ids, length, *rest)


def pool_text(embedding: nn.Embedding | nn.Linear, text: ItemText, items: Tensor) -> Tensor:
    """Semantic item vectors s_i (§5.1.1): the mean of the backbone's embeddings over each item's tokens.

    The mean is weighted where the text has weights. An item without text gets zeros.

    Args:
        items: (M,) item ids.
    Returns:
        (M, d_model)
    """
    tokens = tokens_of(text, items)
    weights = None if text.weights is None else text.weights[tokens.place]
    return pool_tokens(embedding, text, tokens, weights)


class Tokens(NamedTuple):
    """Positions of the tokens of M items in an ``ItemText``, item after item, T' in all."""

    place: Tensor  # (T',) index into its tokens
    start: Tensor  # (M,) an item's first among the T'
    length: Tensor  # (M,)


def tokens_of(text: ItemText, items: Tensor) -> Tokens:
    """The positions of the tokens of items (M,)."""
    first, length = text.offsets[items], text.offsets[items + 1] - text.offsets[items]
    end = length.cumsum(0)
    start = end - length
    inside = torch.arange(int(end[-1]), device=items.device) - start.repeat_interleave(length)
    return Tokens(first.repeat_interleave(length) + inside, start, length)


def pool_tokens(embedding: nn.Embedding | nn.Linear, text: ItemText, tokens: Tokens, weights: Tensor | None) -> Tensor:
    """(M, d_model) sums of token vectors by ``weights`` (T',), or their means.

    The computation never lays out (M, tokens, d_model).
    """
    ids = text.tokens[tokens.place]
    if weights is None:
        return F.embedding_bag(ids, embedding.weight, tokens.start, mode="mean")
    return F.embedding_bag(ids, embedding.weight, tokens.start, mode="sum", per_sample_weights=weights)


def mean_tokens(embedding: nn.Embedding | nn.Linear, ids: Tensor, length: Tensor) -> Tensor:
    """(B, K) token ids → (B, d), the mean vector of the first ``length`` (B,) tokens. Zeros where the length is 0."""
    mask = torch.arange(ids.shape[1], device=ids.device) < length.unsqueeze(1)  # (B, K)
    return masked_mean(F.embedding(ids, embedding.weight) * mask.unsqueeze(-1), mask)


def masked_mean(encoded: Tensor, mask: Tensor) -> Tensor:
    """(B, H, d), zero outside the mask (B, H) → (B, d) means. Zeros for an empty history."""
    return encoded.sum(dim=1) / mask.sum(dim=1, keepdim=True).clamp(min=1)
