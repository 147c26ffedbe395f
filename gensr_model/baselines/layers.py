"""Layers that baselines share. A mask is True at real entries and False at padding."""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gensr_model.baselines.inputs import Domain, History
from gensr_model.data.text import ItemText
from gensr_model.models.text_pooling import pool_text

# --- embeddings ----------------------------------------------------------------------------------------------


def embedding(count: int, dim: int, padding: bool = False) -> nn.Embedding:
    """A table (count, dim) with small random rows. With ``padding``, row 0 is zero and stays zero."""
    table = nn.Embedding(count, dim, padding_idx=0 if padding else None)
    nn.init.normal_(table.weight, std=0.02)
    if padding:
        with torch.no_grad():
            table.weight[0] = 0
    return table


class ItemEmbedding(nn.Module):
    """One vector per item, shared by candidates and histories."""

    def __init__(self, n_items: int, dim: int) -> None:
        super().__init__()
        self.table = embedding(n_items, dim)

    def forward(self, items: Tensor) -> Tensor:
        """(...) item_idx → (..., d)."""
        vectors: Tensor = self.table(items)
        return vectors

    def embed_history(self, history: History) -> Tensor:
        """(B, H, d), zero at padding."""
        vectors: Tensor = self.table(history.item) * history.mask.unsqueeze(-1)
        return vectors


def word_embedding(domain: Domain, dim: int) -> nn.Embedding:
    """One vector per word id; padding's is zero."""
    return embedding(domain.n_words, dim, padding=True)


def mean_words(words: nn.Embedding, ids: Tensor) -> Tensor:
    """(..., L) word ids → (..., d): the mean of the words that are not padding, or zeros."""
    flat = ids.reshape(-1, ids.shape[-1])
    means = F.embedding_bag(flat, words.weight, mode="mean", padding_idx=0)
    return means.view(*ids.shape[:-1], words.embedding_dim)


class QueryEncoder(nn.Module):
    """q = tanh(W · mean of the word vectors + b). The empty query has zero words and gives tanh(b)."""

    def __init__(self, words: nn.Embedding, dim: int) -> None:
        super().__init__()
        self.words = words
        self.project = nn.Linear(words.embedding_dim, dim)

    def forward(self, ids: Tensor) -> Tensor:
        """(..., L) word ids → (..., d)."""
        return torch.tanh(self.project(mean_words(self.words, ids)))


class HistoryEmbedding(nn.Module):
    """Adds to each event its recency, then layer norm and dropout. Zero at padding.

    Positions count back from the latest event, so padding on the left does not change them.
    """

    def __init__(self, dim: int, max_history: int, dropout: float) -> None:
        super().__init__()
        self.recency = embedding(max_history, dim)
        self.norm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, events: Tensor, mask: Tensor) -> Tensor:
        """(B, H, d), (B, H) → (B, H, d). Positions past ``max_history``, always padding, share the last one."""
        count = self.recency.num_embeddings
        recency = torch.arange(events.shape[1] - 1, -1, -1, device=events.device).clamp(max=count - 1)
        placed: Tensor = self.dropout(self.norm(events + self.recency(recency)))
        return placed * mask.unsqueeze(-1)


class ItemWords(nn.Module):
    """The words of item texts (contract field ``item_text``). They belong to the dataset, not to the weights."""

    def __init__(self, domain: Domain) -> None:
        super().__init__()
        assert domain.item_text is not None, "declare item_text"  # a programmer's error
        self.register_buffer("tokens", domain.item_text.tokens, persistent=False)
        self.register_buffer("offsets", domain.item_text.offsets, persistent=False)

    def pool(self, words: nn.Embedding, items: Tensor) -> Tensor:
        """(...) item_idx → (..., d): mean of the vectors of all words of the text. Zeros without text."""
        distinct, inverse = items.unique(return_inverse=True)
        text = ItemText(self.get_buffer("tokens"), self.get_buffer("offsets"))
        return pool_text(words, text, distinct)[inverse]

    def has_text(self, items: Tensor) -> Tensor:
        """(...) item_idx → (...) bool."""
        offsets = self.get_buffer("offsets")
        return offsets[items + 1] > offsets[items]

    def first(self, items: Tensor, count: int) -> Tensor:
        """(B,) item_idx → (B, count) the first words of the texts, with 0 after a shorter text."""
        tokens, offsets = self.get_buffer("tokens"), self.get_buffer("offsets")
        place = offsets[items].unsqueeze(1) + torch.arange(count, device=items.device)
        inside = place < offsets[items + 1].unsqueeze(1)
        return F.pad(tokens, (0, 1))[torch.where(inside, place, len(tokens))]

    def sample(self, items: Tensor, count: int) -> Tensor:
        """(B,) item_idx → (B, count) words drawn from the texts. 0, padding, for an item without text."""
        tokens, offsets = self.get_buffer("tokens"), self.get_buffer("offsets")
        start, length = offsets[items], offsets[items + 1] - offsets[items]
        if not len(tokens):
            return items.new_zeros(len(items), count)
        drawn = torch.rand(len(items), count, device=items.device) * length.unsqueeze(1)
        # Rounding may give the length, and an empty last text would start past the end.
        place = drawn.long().clamp(max=(length - 1).clamp(min=0).unsqueeze(1)) + start.unsqueeze(1)
        return tokens[place.clamp(max=len(tokens) - 1)] * (length > 0).unsqueeze(1)


# --- attention -----------------------------------------------------------------------------------------------


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the last axis where the mask is True. Zeros, not NaN, for an empty mask."""
    weights = scores.masked_fill(~mask, torch.finfo(scores.dtype).min).softmax(dim=-1)
    return weights * mask


def attention_pool(scores: Tensor, values: Tensor, mask: Tensor) -> Tensor:
    """Sums of ``values`` (B, H, d), weighted by the softmax of ``scores``.

    ``scores`` are (B, H) or (B, C, H), and the result is (B, d) or (B, C, d). ``mask`` is (B, H). An empty history
    gives zeros.
    """
    if scores.dim() == 2:
        return attention_pool(scores.unsqueeze(1), values, mask).squeeze(1)
    return masked_softmax(scores, mask.unsqueeze(1)) @ values


class AdditiveAttention(nn.Module):
    """Pools values with scores v · tanh(W x + b)."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.project, self.weigh = nn.Linear(dim, hidden), nn.Linear(hidden, 1, bias=False)

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        """(B, H, d), (B, H) → (B, d). Zeros for an empty history."""
        return attention_pool(self.weigh(torch.tanh(self.project(values))).squeeze(-1), values, mask)


class Transformer(nn.Module):
    """Transformer blocks over a padded sequence: multi-head self-attention and a feed-forward net, GELU."""

    def __init__(
        self, dim: int, heads: int, layers: int, dropout: float, feed_forward: int | None = None,
        norm_first: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.heads = heads
        width = 4 * dim if feed_forward is None else feed_forward
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(dim, heads, width, dropout, "gelu", batch_first=True, norm_first=norm_first)
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(dim) if norm_first else nn.Identity()

    def forward(self, x: Tensor, mask: Tensor, allowed: Tensor | None = None) -> Tensor:
        """Encode.

        Args:
            x: (B, H, d). mask: (B, H).
            allowed: (H, H) or (B, H, H), True where a row may attend to a column; None for everywhere. A row that
                may attend to nothing attends to itself.
        Returns:
            (B, H, d), zero at padding.
        """
        attend = _attend(mask, mask.shape[1], allowed)
        itself = torch.eye(mask.shape[1], dtype=torch.bool, device=x.device)
        attend = attend | (itself & ~attend.any(-1, keepdim=True))
        blocked = ~attend.repeat_interleave(self.heads, dim=0)  # (B * heads, H, H)
        x = x * mask.unsqueeze(-1)
        for layer in self.layers:
            x = layer(x, src_mask=blocked)
        encoded: Tensor = self.norm(x)
        return encoded * mask.unsqueeze(-1)


def causal(length: int, device: torch.device) -> Tensor:
    """(H, H): a position may attend to itself and to earlier positions."""
    return torch.ones(length, length, dtype=torch.bool, device=device).tril()


def dot(vector: Tensor, candidates: Tensor) -> Tensor:
    """(B, d) · (B, C, d) → (B, C)."""
    return (candidates @ vector.unsqueeze(-1)).squeeze(-1)


def mlp(sizes: tuple[int, ...], dropout: float) -> nn.Sequential:
    """Linear layers of these widths, with PReLU and dropout between them."""
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(sizes[:-1]):
        layers += [nn.Linear(before, after), nn.PReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1]))


def _attend(keys: Tensor, rows: int, allowed: Tensor | None) -> Tensor:
    """(B, rows, M), True where a row may attend to a real key, from keys (B, M)."""
    attend = keys.unsqueeze(1).expand(-1, rows, -1)
    return attend if allowed is None else attend & allowed


class CrossBlock(nn.Module):
    """A transformer block with a memory: self-attention, attention to the memory, and a feed-forward net with GELU."""

    def __init__(self, dim: int, heads: int, dropout: float, feed_forward: int, norm_first: bool = True) -> None:
        super().__init__()
        self.heads = heads
        self.layer = nn.TransformerDecoderLayer(
            dim, heads, feed_forward, dropout, "gelu", batch_first=True, norm_first=norm_first
        )

    def forward(
        self, x: Tensor, mask: Tensor, memory: Tensor, memory_mask: Tensor, allowed: Tensor | None = None
    ) -> Tensor:
        """Encode.

        Args:
            x: (B, H, d). mask: (B, H).
            memory: (B, M, d), zero at padding. memory_mask: (B, M).
            allowed: (H, H) or (B, H, H) for both attentions, then M = H; None for everywhere.
        Returns:
            (B, H, d), zero at padding.
        """
        blocked = []
        for keys in (mask, memory_mask):
            attend = _attend(keys, x.shape[1], allowed)
            # A row without allowed keys attends everywhere: it is padding, or its memory is all zeros.
            attend = attend | ~attend.any(-1, keepdim=True)
            blocked.append(~attend.repeat_interleave(self.heads, dim=0))  # (B * heads, H, M)
        encoded: Tensor = self.layer(x * mask.unsqueeze(-1), memory, tgt_mask=blocked[0], memory_mask=blocked[1])
        return encoded * mask.unsqueeze(-1)


# --- words ---------------------------------------------------------------------------------------------------


def word_loss(vectors: Tensor, words: Tensor, table: nn.Embedding, negatives: int) -> Tensor:
    """(B,) loss of a negative-sampling language model: a vector predicts its words. 0 for a row without words.

    Args:
        vectors: (B, d). words: (B, n) word ids, 0 for none. negatives: number of uniform negatives for each word.
    """
    there = words != 0
    drawn = torch.randint(2, max(3, table.num_embeddings), (*words.shape, negatives), device=words.device)
    drawn = drawn.clamp(max=table.num_embeddings - 1)
    scores = (table(words) * vectors.unsqueeze(1)).sum(-1)  # (B, n)
    others = torch.einsum("bnkd,bd->bnk", table(drawn), vectors)
    each = F.softplus(-scores) + F.softplus(others).sum(-1)
    return (each * there).sum(1) / there.sum(1).clamp(min=1)
