"""USER (Yao et al., CIKM 2021): one chronological sequence of search and recommendation, one model for both tasks.

Departures: the latest events stand for the current session, because batches have no times. A search event has one
clicked item, an id instead of a text, so co-attention weighs the words of the query. One binary cross-entropy serves
both tasks, without fine-tuning of each.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from gensr_model.baselines import layers as L
from gensr_model.baselines.base import DotBaseline
from gensr_model.baselines.inputs import MIXED, QUERY, BaselineBatch, Domain, History
from gensr_model.config.base import TASKS, Task
from gensr_model.models.losses import ItemLoss


class CoAttention(nn.Module):
    """One vector of a query and its clicked item: W [Σ_l α_l x_l ; i].

    The weights are α = softmax of x_lᵀ A i / √d. x are the words and the item, so that words unrelated to the click
    have little weight.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.affinity = nn.Linear(dim, dim, bias=False)
        self.merge = nn.Linear(2 * dim, dim)

    def forward(self, words: Tensor, there: Tensor, item: Tensor) -> Tensor:
        """(N, L, d) words, their mask (N, L), (N, d) items → (N, d)."""
        keys = torch.cat([words, item.unsqueeze(1)], dim=1)
        there = torch.cat([there, there.new_ones(len(there), 1)], dim=1)
        scores = L.dot(self.affinity(item), keys) / item.shape[-1] ** 0.5
        merged: Tensor = self.merge(torch.cat([L.attention_pool(scores, keys, there), item], dim=-1))
        return merged


class USER(DotBaseline):
    """USER: the score of an item mixes the intent with the session encoder's and the history encoder's state.

    The intent is the query, or a learned token for recommendation. It is the last place of both sequences.

    Args:
        session: number of latest events that the session encoder reads.
    """

    reads: ClassVar[frozenset[str]] = frozenset({QUERY, MIXED})
    tasks: ClassVar[tuple[Task, ...]] = TASKS

    def __init__(
        self, domain: Domain, dim: int = 64, layers: int = 1, heads: int = 4, dropout: float = 0.1,
        session: int = 5, loss: ItemLoss = "bce",
    ) -> None:  # fmt: skip
        super().__init__(loss)
        self.session = session
        self.items = L.ItemEmbedding(domain.n_items, dim)
        self.words = L.word_embedding(domain, dim)
        self.query = L.QueryEncoder(self.words, dim)
        self.clicked = CoAttention(dim)
        self.behavior = L.embedding(2, dim)
        self.no_query = nn.Parameter(L.embedding(1, dim).weight.detach()[0])
        self.placed = L.HistoryEmbedding(dim, domain.max_history + 1, dropout)
        self.in_session = L.Transformer(dim, heads, layers, dropout)
        self.in_history = L.Transformer(dim, heads, layers, dropout)
        self.mix = nn.Parameter(torch.ones(3))

    def _events(self, history: History) -> Tensor:
        """(B, H, d): browsed items, and searches with their clicks."""
        events: Tensor = self.items.embed_history(history)
        searched = history.mask & (history.behavior == 1)
        words = history.query[searched]  # (N, L)
        clicked: Tensor = self.clicked(self.words(words), words != 0, events[searched])
        clicked = clicked.to(events.dtype)  # bf16 under autocast
        events = events.masked_scatter(searched.unsqueeze(-1), clicked)
        return events + self.behavior(history.behavior)

    def _last(self, encoder: nn.Module, events: Tensor, mask: Tensor, intent: Tensor) -> Tensor:
        """(B, H, d), (B, H), (B, d) → (B, d): the encoder's output at the place of the intent."""
        sequence = torch.cat([events, intent.unsqueeze(1)], dim=1)
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
        state: Tensor = encoder(self.placed(sequence, mask), mask)[:, -1]
        return state

    def state(self, batch: BaselineBatch) -> Tensor:
        """(B, d) a learned mix of the three states. The score is then the mix of their dot products with the item."""
        history = batch.history
        intent = torch.where((batch.task == 1).unsqueeze(1), self.query(batch.query), self.no_query)
        events = self._events(history)
        recent = slice(-self.session, None)
        short = self._last(self.in_session, events[:, recent], history.mask[:, recent], intent)
        long = self._last(self.in_history, events, history.mask, short)
        mixed: Tensor = torch.stack([intent, short, long], dim=-1) @ self.mix
        return mixed
