"""GRU4Rec (Hidasi et al. 2016): a gated recurrent unit reads the recommendation history."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from gensr_model.baselines import layers as L
from gensr_model.baselines.base import DotBaseline
from gensr_model.baselines.inputs import REC, BaselineBatch, Domain, History
from gensr_model.config.base import Task
from gensr_model.models.losses import ItemLoss


class GRU4Rec(DotBaseline):
    """GRU4Rec: the score of an item is the last hidden state, projected to the width of the items, · item.

    Departures: the loss is cross-entropy over the catalogue. The paper's BPR (``bpr``, §3.2.2) uses sampled negatives,
    not the other sessions of the batch. Input and output share one item table.
    """

    reads: ClassVar[frozenset[str]] = frozenset({REC})
    tasks: ClassVar[tuple[Task, ...]] = ("recommendation",)

    def __init__(
        self, domain: Domain, dim: int = 64, hidden: int = 128, dropout: float = 0.2, loss: ItemLoss = "catalogue"
    ) -> None:
        super().__init__(loss)
        self.items = L.ItemEmbedding(domain.n_items, dim)
        self.dropout = nn.Dropout(dropout)
        self.gru = nn.GRU(dim, hidden, batch_first=True)
        self.out = nn.Linear(hidden, dim)

    def last_hidden(self, history: History) -> Tensor:
        """(B, hidden) the state after the latest event. Zeros, a GRU's start, for an empty history."""
        length = history.mask.sum(dim=1)
        width = history.mask.shape[1]
        # A GRU would read padding on the left as events, so histories start at place 0 and padding follows.
        place = (torch.arange(width, device=length.device) - length.unsqueeze(1)) % width  # (B, H)
        events = self.items.embed_history(history).gather(1, place.unsqueeze(-1).expand(-1, -1, self.gru.input_size))
        states: Tensor = self.gru(self.dropout(events))[0]  # (B, H, hidden)
        last = (length - 1).clamp(min=0)
        return states[torch.arange(len(length), device=length.device), last] * (length > 0).unsqueeze(1)

    def state(self, batch: BaselineBatch) -> Tensor:
        """(B, d) the projected last hidden state."""
        state: Tensor = self.out(self.last_hidden(batch.rec_history))
        return state
