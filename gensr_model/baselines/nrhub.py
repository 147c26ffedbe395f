"""NRHUB (Wu et al. 2019): the user vector attends to views of heterogeneous behavior."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from gensr_model.baselines import layers as L
from gensr_model.baselines.base import DotBaseline
from gensr_model.baselines.inputs import REC, SRC, BaselineBatch, Domain
from gensr_model.config.base import Task
from gensr_model.models.losses import ItemLoss


class NRHUB(DotBaseline):
    """NRHUB: the score is user · item. The user is an attended sum of three views.

    The views are queries, items that searches found, and recommended items, each with its own attention over events.
    Departures: the paper's views are queries, web pages and news. CNNs over words are replaced by the mean word of a
    query and by a projected vector per item.
    """

    reads: ClassVar[frozenset[str]] = frozenset({REC, SRC})
    tasks: ClassVar[tuple[Task, ...]] = ("recommendation",)

    def __init__(
        self, domain: Domain, dim: int = 64, attention: int = 64, dropout: float = 0.2, loss: ItemLoss = "listwise"
    ) -> None:
        super().__init__(loss)
        self.items = L.ItemEmbedding(domain.n_items, dim)
        self.query = L.QueryEncoder(L.word_embedding(domain, dim), dim)
        self.project = nn.ModuleList(nn.Linear(dim, dim) for _ in range(2))
        self.pools = nn.ModuleList(L.AdditiveAttention(dim, attention) for _ in range(3))
        self.views = L.AdditiveAttention(dim, attention)
        self.dropout = nn.Dropout(dropout)

    def state(self, batch: BaselineBatch) -> Tensor:
        """(B, d) the user vector, without views that have no events. Zeros for a user without any event."""
        searched, recommended = batch.src_history, batch.rec_history
        item_events = [
            project(self.items.embed_history(history))
            for project, history in zip(self.project, (searched, recommended), strict=True)
        ]
        events = (self.query(searched.query), *item_events)  # (B, H, d) each
        masks = (searched.mask, searched.mask, recommended.mask)
        pooled = [pool(self.dropout(x), mask) for pool, x, mask in zip(self.pools, events, masks, strict=True)]
        there = torch.stack([mask.any(dim=1) for mask in masks], dim=1)  # (B, 3)
        user: Tensor = self.views(torch.stack(pooled, dim=1), there)
        return user
