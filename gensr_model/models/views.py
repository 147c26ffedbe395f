"""One view of the history (§5.1): its encoder (Eq. 5 and 6), soft filter (Eq. 7 and 8) and projection."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from gensr_model.config.model import ModelConfig
from gensr_model.data.batches import Batch
from gensr_model.models.departures import HistoryProduct, Unchanged, start_as_identity
from gensr_model.models.item_vectors import ItemVectors
from gensr_model.models.text_pooling import masked_mean


class EncodedView(NamedTuple):
    """A view of a batch."""

    history: Tensor  # (B, H, d) C_u or S_u, zero at padding
    mask: Tensor  # (B, H) True at events
    candidates: Tensor  # (B, C, d) item vectors

    def take(self, rows: Tensor) -> EncodedView:
        """The samples at ``rows`` (b,)."""
        return EncodedView(*(field[rows] for field in self))

    def neutral(self, mean: Tensor) -> EncodedView:
        """The view without what it knows: an empty history, and ``mean`` (d,) in place of every candidate."""
        empty = torch.zeros_like(self.history), torch.zeros_like(self.mask)
        return EncodedView(*empty, mean.expand_as(self.candidates))


class View(nn.Module):
    """One view: its encoder, its filter, and the projection of its vectors into the backbone's space.

    Args:
        dim: d of the view's item vectors. width: d_model of the backbone.
    """

    def __init__(self, dim: int, width: int, config: ModelConfig) -> None:
        super().__init__()
        self.encoder = HistoryEncoder(dim, config)
        self.filter = history_filter(dim, config)
        self.project = nn.Linear(dim, width)
        self.interaction = HistoryProduct(dim, width) if config.departures.interaction else Unchanged()

    def encode(self, items: ItemVectors, batch: Batch) -> EncodedView:
        """C_u or S_u (Eq. 5, 6) of the batch's histories, and the vectors of its candidates."""
        history = self.encoder(items.at(batch.history), batch.history_mask, batch.behavior)
        return EncodedView(history, batch.history_mask, items.at(batch.candidates))

    def weights(self, encoded: EncodedView) -> Tensor | None:
        """(B, C, H) Eq. 7's weights of the events for each candidate. None without a soft filter."""
        return self.filter.weights(encoded.candidates, encoded.history, encoded.mask)

    def slots(self, encoded: Tensor, mask: Tensor, candidate: Tensor) -> tuple[Tensor, Tensor]:
        """The view's two placeholders of Eq. 9, history and candidate, each (B, C, d_model).

        Args:
            encoded: (B, H, d). mask: (B, H). candidate: (B, C, d).
        """
        history = self.filter(candidate, encoded, mask)
        return self.interaction(self.project(history), history, candidate), self.project(candidate)


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
        # Attention over no key gives NaN, so an empty history attends to its zero padding. The mask then removes it.
        attend = mask | ~mask.any(dim=1, keepdim=True)
        x = self.layer(x * mask.unsqueeze(-1), src_key_padding_mask=~attend)
        return x * mask.unsqueeze(-1)


class SoftFilter(nn.Module):
    """Eq. 7 and 8: the candidate attends to the encoded history. An empty history gives a learned vector."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(dim, heads, dropout=dropout, batch_first=True)
        self.empty = nn.Parameter(torch.zeros(dim))

    def forward(self, candidate: Tensor, encoded: Tensor, mask: Tensor) -> Tensor:
        """(B, C, d) candidates, (B, H, d) encoded history, (B, H) mask → (B, C, d)."""
        has_history = mask.any(dim=1)
        attend = mask | ~has_history.unsqueeze(1)
        filtered, _ = self.attention(candidate, encoded, encoded, key_padding_mask=~attend, need_weights=False)
        return torch.where(has_history[:, None, None], filtered, self.empty)

    def weights(self, candidate: Tensor, encoded: Tensor, mask: Tensor) -> Tensor:
        """The weights of Eq. 7 behind ``forward``, of the same arguments: (B, C, H), means over the attention heads.

        They are 0 at padding and sum to 1 over a history. An empty history has zeros.
        """
        attend = mask | ~mask.any(dim=1, keepdim=True)
        _, weights = self.attention(candidate, encoded, encoded, key_padding_mask=~attend, need_weights=True)
        return weights * mask.unsqueeze(1)


class MeanHistory(nn.Module):
    """Without the soft filter (§6.6): every candidate gets the mean of the encoded history."""

    def forward(self, candidate: Tensor, encoded: Tensor, mask: Tensor) -> Tensor:
        """(B, C, d) candidates, (B, H, d) encoded history, (B, H) mask → (B, C, d)."""
        return masked_mean(encoded, mask).unsqueeze(1).expand_as(candidate)

    def weights(self, *_: Tensor) -> None:
        """None: no event weighs more than another."""


def history_filter(dim: int, config: ModelConfig) -> SoftFilter | MeanHistory:
    """The module that reduces a history to one vector per candidate, as the config chooses."""
    if not config.soft_filter:
        return MeanHistory()
    soft = SoftFilter(dim, config.view_heads, config.view_dropout)
    if config.departures.filter_identity:
        start_as_identity(soft.attention)
    return soft
