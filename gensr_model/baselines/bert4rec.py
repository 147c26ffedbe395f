"""BERT4Rec (Sun et al. 2019): a bidirectional transformer that fills in masked items."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from gensr_model.baselines import layers as L
from gensr_model.baselines.base import Baseline
from gensr_model.baselines.inputs import REC, BaselineBatch, Domain
from gensr_model.config.base import Task
from gensr_model.models import losses
from gensr_model.models.base import LossParts


class BERT4Rec(Baseline):
    """BERT4Rec: the logit of an item is (state at a [MASK] after the history) · item + the item's bias.

    The training sequence is the history and the sample's item. As in §3.6, half of the samples train a cloze that masks
    each place with probability ``mask_share``; the other half mask only the last place. Departure: a large catalogue is
    sampled (``losses.catalogue_ce``).
    """

    reads: ClassVar[frozenset[str]] = frozenset({REC})
    tasks: ClassVar[tuple[Task, ...]] = ("recommendation",)

    def __init__(
        self,
        domain: Domain,
        dim: int = 64,
        layers: int = 2,
        heads: int = 2,
        dropout: float = 0.2,
        mask_share: float = 0.2,
    ) -> None:
        super().__init__()
        self.items = L.ItemEmbedding(domain.n_items, dim)
        self.bias = nn.Parameter(torch.zeros(domain.n_items))
        self.hidden = nn.Parameter(torch.randn(dim) * 0.02)  # [MASK]
        self.events = L.HistoryEmbedding(dim, domain.max_history + 1, dropout)
        self.encoder = L.Transformer(dim, heads, layers, dropout, norm_first=False)
        self.head = nn.Sequential(nn.Linear(dim, dim), nn.GELU())
        self.mask_share = mask_share

    def encode(self, items: Tensor, mask: Tensor, hidden: Tensor) -> Tensor:
        """(B, S) item_idx, event mask and mask of hidden places → (B, S, d) before the softmax of Eq. 7."""
        events = torch.where(hidden.unsqueeze(-1), self.hidden, self.items(items))
        states: Tensor = self.head(self.encoder(self.events(events, mask), mask))
        return states

    def state(self, batch: BaselineBatch) -> Tensor:
        """(B, d) the state at the [MASK] after the history."""
        history = batch.rec_history
        last = history.mask.new_ones(len(history.mask), 1)
        items = torch.cat([history.item, torch.zeros_like(history.item[:, :1])], dim=1)
        hidden = torch.cat([torch.zeros_like(history.mask), last], dim=1)
        return self.encode(items, torch.cat([history.mask, last], dim=1), hidden)[:, -1]

    def score(self, batch: BaselineBatch) -> Tensor:
        """(B, C) logits of Eq. 7."""
        return L.dot(self.state(batch), self.items(batch.candidates)) + self.bias[batch.candidates]

    def catalogue_scores(self, batch: BaselineBatch) -> Tensor:
        """(B, I) logits of every item."""
        return self.state(batch) @ self.items.table.weight.T + self.bias

    def loss(self, batch: BaselineBatch) -> LossParts:
        history = batch.rec_history
        items = torch.cat([history.item, batch.candidates[:, :1]], dim=1)  # (B, S)
        mask = torch.cat([history.mask, history.mask.new_ones(len(items), 1)], dim=1)
        hidden = self.hide(mask)
        states = self.encode(items, mask, hidden)[hidden]  # (n, d), n places are masked
        # The bias as one more column: softmax(state · item + bias) over the catalogue.
        rows = torch.cat([self.items.table.weight, self.bias.unsqueeze(1)], dim=1)
        states = torch.cat([states, states.new_ones(len(states), 1)], dim=1)
        each = losses.catalogue_ce(states, rows, items[hidden])
        sample = hidden.nonzero()[:, 0]  # (n,) the sample of each masked place
        sums = each.new_zeros(len(items)).index_add(0, sample, each)
        return losses.total({"cloze": sums / hidden.sum(dim=1)})  # Eq. 8

    def hide(self, mask: Tensor) -> Tensor:
        """(B, S) places to mask, at least one per sample: the last, where none was drawn."""
        drawn = (torch.rand(mask.shape, device=mask.device) < self.mask_share) & mask
        cloze = torch.rand(len(mask), 1, device=mask.device) < 0.5
        hidden = drawn & cloze
        hidden[:, -1] |= ~hidden.any(dim=1)
        return hidden
