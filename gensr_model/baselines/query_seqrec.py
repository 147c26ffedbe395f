"""Query-SeqRec (He et al. 2022): SASRec over a sequence in which a query stands before the item that it found."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from gensr_model.baselines import layers as L
from gensr_model.baselines.augment import peer, query_key
from gensr_model.baselines.base import DotBaseline
from gensr_model.baselines.inputs import MIXED, BaselineBatch, Domain
from gensr_model.config.base import Task
from gensr_model.models.losses import ItemLoss


class QuerySeqRec(DotBaseline):
    """Query-SeqRec: the score is the last state of a causal transformer · item. A query is the mean of its words.

    Augmentation changes each search event of a training history with probability ``replace``. The item becomes another
    item that the query found, and the query another query that found the item: neighbors in the graph of queries and
    items. Departures: the graph is that of the batch. The loss covers the last place, because each training event is a
    sample. A large catalogue is sampled (``losses.catalogue_ce``).
    """

    reads: ClassVar[frozenset[str]] = frozenset({MIXED})
    tasks: ClassVar[tuple[Task, ...]] = ("recommendation",)

    def __init__(
        self, domain: Domain, dim: int = 64, layers: int = 2, heads: int = 2, dropout: float = 0.2,
        replace: float = 0.2, loss: ItemLoss = "catalogue",
    ) -> None:  # fmt: skip
        super().__init__(loss)
        self.items = L.ItemEmbedding(domain.n_items, dim)
        self.words = L.word_embedding(domain, dim)
        self.kinds = L.embedding(2, dim)  # item, query
        self.events = L.HistoryEmbedding(dim, 2 * domain.max_history, dropout)
        self.encoder = L.Transformer(dim, heads, layers, dropout, feed_forward=dim)
        self.replace = replace

    def encode(self, items: Tensor, queries: Tensor, mask: Tensor, searched: Tensor) -> Tensor:
        """(B, H) item_idx, (B, H, L) words, mask of events, mask of searches → (B, d)."""
        pairs = torch.stack(
            [L.mean_words(self.words, queries) + self.kinds.weight[1], self.items(items) + self.kinds.weight[0]], dim=2
        )  # (B, H, 2, d)
        # A recommendation event has an empty query place.
        there = torch.stack([mask & searched, mask], dim=2).flatten(1)  # (B, 2H)
        events = self.events(pairs.flatten(1, 2), there)
        state: Tensor = self.encoder(events, there, L.causal(there.shape[1], there.device))[:, -1]
        return state

    def state(self, batch: BaselineBatch) -> Tensor:
        """(B, d) the last state, of an augmented history in training.

        Zeros for an empty history, so that all items score alike.
        """
        history = batch.history
        items, queries, searched = history.item, history.query, history.mask & (history.behavior == 1)
        if self.training and self.replace:
            items, queries = self._replace(items, queries, searched)
        return self.encode(items, queries, history.mask, searched)

    def _replace(self, items: Tensor, queries: Tensor, searched: Tensor) -> tuple[Tensor, Tensor]:
        clicked, asked = items[searched], queries[searched]  # (n,), (n, L)
        for_item, for_query = torch.rand(2, len(clicked), device=clicked.device) < self.replace
        new_items, new_queries = items.clone(), queries.clone()
        new_items[searched] = torch.where(for_item, clicked[peer(query_key(asked))], clicked)
        new_queries[searched] = torch.where(for_query.unsqueeze(1), asked[peer(clicked)], asked)
        return new_items, new_queries
