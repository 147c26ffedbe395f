"""Dual-view representation (§5.1): item vectors of both views, their encoders, the soft filter, the alignment."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gensr_model.config.model import ModelConfig
from gensr_model.data.batches import Batch
from gensr_model.data.folds import fold_of
from gensr_model.data.text import ItemText


class CFTable(nn.Module):
    """Item vectors of a pre-trained CF table ℰ (footnote 2); items without a training edge share one learned vector.

    Args:
        table: (I, d) item embeddings.
        known: (I,) bool, False for cold items.
        freeze: keep the table as it is; only the cold vector learns.
        folds: (K, I, d) and (K, I): tables and known items that were trained without one fold of the purchases
            (``training/cross_fit.py``). In training a sample reads that of its own fold. They are not saved.
    """

    def __init__(
        self, table: Tensor, known: Tensor, freeze: bool = True, folds: tuple[Tensor, Tensor] | None = None
    ) -> None:
        super().__init__()
        self.table = nn.Parameter(table.clone(), requires_grad=not freeze)
        self.known: Tensor
        self.register_buffer("known", known.clone())
        self.cold = nn.Parameter(torch.zeros(table.shape[1]))
        self.folds = 0 if folds is None else len(folds[0])
        if folds is not None:
            self.fold_table: Tensor
            self.fold_known: Tensor
            self.register_buffer("fold_table", folds[0], persistent=False)
            self.register_buffer("fold_known", folds[1], persistent=False)

    @property
    def dim(self) -> int:
        return self.table.shape[1]

    def forward(self, items: Tensor) -> Tensor:
        """(M,) item ids → (M, d)."""
        return torch.where(self.known[items].unsqueeze(-1), self.table[items], self.cold)

    def of_batch(self, batch: Batch, cold: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Vectors of the batch's M items, (M, d), and for each sample the row where they begin, (B, 1): 0.

        In training with folds (K · M, d), fold by fold, and the row where those of the sample's fold begin. Where
        ``cold`` (M,) is True an item stands as one that training never met.
        """
        items = batch.items
        warm = torch.ones_like(items, dtype=torch.bool) if cold is None else ~cold
        if not (self.training and self.folds):
            known = self.known[items] & warm
            vectors = torch.where(known.unsqueeze(-1), self.table[items], self.cold)
            return vectors, torch.zeros_like(batch.user).unsqueeze(1)
        known = self.fold_known[:, items] & warm
        every = torch.where(known.unsqueeze(-1), self.fold_table[:, items], self.cold)  # (K, M, d)
        fold = fold_of(batch.user, items[batch.candidates[:, 0]], self.folds)
        return every.flatten(0, 1), (fold * len(items)).unsqueeze(1)

    def select(self, rows: Tensor) -> None:
        """Become the table of another catalogue: item i takes row ``rows[i]``, or the cold vector where that is -1."""
        kept = rows.clamp(min=0)
        self.known = self.known[kept] & (rows >= 0)
        self.table = nn.Parameter(self.table.data[kept], requires_grad=self.table.requires_grad)


class ItemEmbedding(nn.Module):
    """A vector of its own per item, which starts at zero and stays there for an item that training does not have.

    Args:
        items: I, those of training.
        dim: d.
    """

    def __init__(self, items: int, dim: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(items, dim))

    def forward(self, items: Tensor, cold: Tensor | None = None) -> Tensor:
        """(M,) item ids → (M, d), zeros where ``cold`` (M,) is True."""
        vectors = F.embedding(items, self.table)
        return vectors if cold is None else vectors * ~cold.unsqueeze(-1)

    def select(self, rows: Tensor) -> None:
        """Become the table of another catalogue: item i takes row ``rows[i]``, or zeros where that is -1."""
        kept = self.table.data[rows.clamp(min=0)] * (rows >= 0).unsqueeze(1)
        self.table = nn.Parameter(kept, requires_grad=self.table.requires_grad)


def unit_scale(table: Tensor, known: Tensor) -> Tensor:
    """The table at unit root mean square over its known rows, so that its scale sets no hidden temperature."""
    if not bool(known.any()):
        return table
    return table / table[known].pow(2).mean().sqrt().clamp(min=1e-12)


def drawn_cold(share: float, items: Tensor) -> Tensor | None:
    """(M,) which of a training batch's items stand in it as items nobody has met; None where the share is 0."""
    return torch.rand(len(items), device=items.device) < share if share > 0 else None


def pool_text(
    embedding: nn.Embedding | nn.Linear,
    text: ItemText,
    items: Tensor,
    cold: Tensor | None = None,
    left_out: Tensor | None = None,
) -> Tensor:
    """Semantic item vectors s_i: the mean of the backbone's embeddings over each item's tokens.

    It is weighted where the text has weights. Tokens are never laid out as (M, tokens, d). An item without text gets
    zeros.

    Args:
        items: (M,) item ids.
        cold: (M,) True where an item's text is read without the searches in it.
        left_out: (m,) for the last m items the query whose words are left out where one search alone said them; or -1.
    Returns:
        (M, d_model)
    """
    start, end = text.offsets[items], text.offsets[items + 1]
    length = end - start
    bag_end = length.cumsum(0)
    inside = torch.arange(int(bag_end[-1]), device=items.device) - (bag_end - length).repeat_interleave(
        length
    )
    place = start.repeat_interleave(length) + inside
    tokens, bag_start = text.tokens[place], bag_end - length
    if text.weights is None:
        return F.embedding_bag(tokens, embedding.weight, bag_start, mode="mean")
    weights = text.weights[place]
    if left_out is not None:
        tail = len(tokens) - int(length[-len(left_out) :].sum())
        weights[tail:] = _without(text, place[tail:], left_out, length[-len(left_out) :])
    if cold is not None and text.cold_weights is not None:
        weights = torch.where(cold.repeat_interleave(length), text.cold_weights[place], weights)
    return F.embedding_bag(tokens, embedding.weight, bag_start, mode="sum", per_sample_weights=weights)


def _without(text: ItemText, place: Tensor, query: Tensor, length: Tensor) -> Tensor:
    """(t,) weights of the tokens at ``place`` (t,) as they are without those that are ``query``'s (m,) alone.

    The other searches share the whole weight of the field; where nothing of it is left, own words do.

    Args:
        length: (m,) tokens of each bag.
    """
    assert text.weights is not None and text.cold_weights is not None and text.lone_query is not None  # noqa: PT018  # for the type checker
    weights, cold = text.weights[place], text.cold_weights[place]
    bag = torch.arange(len(length), device=length.device).repeat_interleave(length, output_size=len(place))
    field = weights.masked_fill(cold > 0, 0.0)
    lone = text.lone_query[place]
    left = field.masked_fill((lone == query[bag]) & (lone >= 0), 0.0)
    whole, rest = (weights.new_zeros(len(length)).index_add(0, bag, part)[bag] for part in (field, left))
    return torch.where(rest > 0, weights - field + left * whole / rest, cold)


class HistoryEncoder(nn.Module):
    """Eq. 5 and 6: FFN(MSA(E, E, E)) over a history, with behavior type and recency added to the items."""

    def __init__(self, dim: int, config: ModelConfig) -> None:
        super().__init__()
        self.behavior = nn.Embedding(2, dim) if config.behavior_embedding else None
        self.position = nn.Embedding(config.max_history, dim) if config.position_embedding else None
        for table in (self.behavior, self.position):
            if table is not None:
                nn.init.normal_(table.weight, std=0.1)
        self.layer = nn.TransformerEncoderLayer(
            dim,
            config.view_heads,
            dim_feedforward=4 * dim,
            dropout=config.view_dropout,
            batch_first=True,
            norm_first=True,
            activation="gelu",
        )

    def forward(self, history: Tensor, mask: Tensor, behavior: Tensor) -> Tensor:
        """(B, H, d), mask (B, H) True at events, behavior (B, H) → (B, H, d), zero at padding."""
        x = history
        if self.behavior is not None:
            x = x + self.behavior(behavior)
        if self.position is not None:
            width = history.shape[1]
            recency = torch.arange(width - 1, -1, -1, device=history.device)  # 0 = the latest event
            x = x + self.position(recency)
        # An empty history would attend to nothing; let it attend to its zero padding, and mask the result.
        attend = mask | ~mask.any(dim=1, keepdim=True)
        x = self.layer(x * mask.unsqueeze(-1), src_key_padding_mask=~attend)
        return x * mask.unsqueeze(-1)


class SoftFilter(nn.Module):
    """Eq. 7 and 8: the candidate attends to the encoded history; an empty history gives a learned vector.

    Args:
        identity: W_Q, W_K, W_V and the output projection start as identities: what is like the candidate weighs most,
            and what is filtered lies where items do, from the first step on (docs/paper_to_code.md AP).
    """

    def __init__(self, dim: int, heads: int, dropout: float, identity: bool = False) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(dim, heads, dropout=dropout, batch_first=True)
        self.empty = nn.Parameter(torch.zeros(dim))
        if identity:
            for weight in (*self.attention.in_proj_weight.data.chunk(3), self.attention.out_proj.weight):
                nn.init.eye_(weight)

    def forward(self, candidate: Tensor, encoded: Tensor, mask: Tensor) -> Tensor:
        """(B, C, d) candidates, (B, H, d) encoded history, (B, H) mask → (B, C, d)."""
        has_history = mask.any(dim=1)
        attend = mask | ~has_history.unsqueeze(1)
        filtered, _ = self.attention(
            candidate, encoded, encoded, key_padding_mask=~attend, need_weights=False
        )
        return torch.where(has_history[:, None, None], filtered, self.empty)


def soft_filter(dim: int, config: ModelConfig) -> SoftFilter | None:
    """The filter that the config asks for, if any."""
    if not config.soft_filter:
        return None
    return SoftFilter(dim, config.view_heads, config.view_dropout, config.filter_identity)


def masked_mean(encoded: Tensor, mask: Tensor) -> Tensor:
    """(B, H, d) and (B, H) → (B, d); zeros for an empty history."""
    return encoded.sum(dim=1) / mask.sum(dim=1, keepdim=True).clamp(min=1)


def mean_tokens(embedding: nn.Embedding | nn.Linear, ids: Tensor, length: Tensor) -> Tensor:
    """(B, K) token ids, the first ``length`` (B,) of them meant → (B, d) their mean; zeros where there are none."""
    mask = torch.arange(ids.shape[1], device=ids.device) < length.unsqueeze(1)  # (B, K)
    return masked_mean(F.embedding(ids, embedding.weight) * mask.unsqueeze(-1), mask)


class View(nn.Module):
    """One view: encoder, filter, and the projection of its vectors into the backbone's space."""

    def __init__(self, dim: int, out_dim: int, config: ModelConfig) -> None:
        super().__init__()
        self.encoder = HistoryEncoder(dim, config)
        self.filter = soft_filter(dim, config)
        self.project = nn.Linear(dim, out_dim)
        self.product = nn.Linear(dim, out_dim, bias=False) if config.interaction else None

    def encode(self, vectors: Tensor, history: Tensor, mask: Tensor, behavior: Tensor) -> Tensor:
        """C_u or S_u (Eq. 5, 6): item vectors (M, d), history (B, H) of indices into them → (B, H, d)."""
        return self.encoder(vectors[history], mask, behavior)

    def slots(self, encoded: Tensor, mask: Tensor, candidate: Tensor) -> tuple[Tensor, Tensor]:
        """History vector and candidate vector per candidate, each (B, C, d_model), from candidates (B, C, d)."""
        if self.filter is None:
            history = masked_mean(encoded, mask).unsqueeze(1).expand_as(candidate)
        else:
            history = self.filter(candidate, encoded, mask)
        slot = self.project(history)
        if self.product is not None:
            slot = slot + self.product(history * candidate)
        return slot, self.project(candidate)


class ContrastiveRows(NamedTuple):
    """Which rows of a batch enter Eq. 10: one per distinct user, the sample with the latest history."""

    rows: Tensor  # (R,)


def distinct_users(user: Tensor, history_end: Tensor, has_history: Tensor) -> ContrastiveRows:
    """(B,) each → the rows that enter the contrastive loss; users without any history are left out."""
    order = torch.argsort(history_end, stable=True)
    order = order[torch.argsort(user[order], stable=True)]
    last = torch.ones_like(order, dtype=torch.bool)
    last[:-1] = user[order][1:] != user[order][:-1]
    rows = order[last]
    return ContrastiveRows(rows[has_history[rows]])


def contrastive_loss(cf: Tensor, semantic: Tensor, tau: float) -> Tensor:
    """Eq. 10 as printed: u′ runs over all of B in both sums, u included, so the loss is at least ln 2.

    Args:
        cf, semantic: (R, k) projected views of R distinct users.
    """
    if len(cf) == 0:
        return cf.sum()
    # In fp32 also under autocast: bf16 knows a cosine near 1 to .004 only, which τ makes twenty times as coarse.
    with torch.autocast(cf.device.type, enabled=False):
        similarity = (
            F.normalize(cf.float(), dim=-1) @ F.normalize(semantic.float(), dim=-1).T / tau
        )  # (R, R): sim(C_u, S_u')
    log_denominator = torch.logsumexp(torch.cat([similarity, similarity.T], dim=1), dim=1)
    return (log_denominator - similarity.diagonal()).mean()
