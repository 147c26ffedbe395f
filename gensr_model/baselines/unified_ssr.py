"""UnifiedSSR (Xie et al., WWW 2024): one encoder for items and queries in both scenarios, and sessions.

Departures:

- A session ends where neighboring states are least similar, not at the bounds of a learned window, which no gradient
  reaches.
- Joint pre-training on both tasks is the whole training; no fine-tuning of each task follows.
- Learned recency replaces sinusoidal positions.
- Each training event is a sample, so the loss of every position is the loss of every sample.

As published: d = 32, 2 layers, 4 heads, 2 sessions, weight 0.1.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gensr_model.baselines import layers as L
from gensr_model.baselines.base import DotBaseline
from gensr_model.baselines.inputs import QUERY, REC, SRC, USER, BaselineBatch, Domain
from gensr_model.config.base import TASKS, Task
from gensr_model.models import losses
from gensr_model.models.base import LossParts
from gensr_model.models.losses import ItemLoss


class Sessions(NamedTuple):
    """The sessions of B sequences, at most S of each."""

    mean: Tensor  # (B, S, d), zeros for a missing session
    there: Tensor  # (B, S)
    last: Tensor  # (B, d) mean of the last place's session


def find_sessions(states: Tensor, mask: Tensor, count: int) -> Sessions:
    """Cut sequences (B, H, d), padded on the left, where neighbors are least similar by cosine."""
    similar = F.cosine_similarity(states[:, 1:], states[:, :-1], dim=-1)  # (B, H - 1)
    similar = similar.masked_fill(~mask[:, :-1], torch.inf)
    cuts = min(count - 1, similar.shape[1])
    least, place = similar.topk(cuts, dim=1, largest=False)
    begins = torch.zeros_like(mask).scatter(1, place + 1, least.isfinite())
    number = begins.long().cumsum(dim=1)  # (B, H) of the session that a place is in
    belongs = (number.unsqueeze(1) == torch.arange(count, device=mask.device).view(-1, 1)) & mask.unsqueeze(1)
    size = belongs.sum(dim=2, keepdim=True)  # (B, S, 1)
    mean = belongs.to(states.dtype) @ states / size.clamp(min=1)
    last = mean[torch.arange(len(mean), device=mask.device), number[:, -1]]
    return Sessions(mean, size.squeeze(-1) > 0, last)


def discrimination(sessions: Sessions) -> Tensor:
    """(B,) mean |cosine| of neighboring sessions, which should differ. 0 for a sequence of one session."""
    pair = sessions.there[:, 1:] & sessions.there[:, :-1]
    similar = F.cosine_similarity(sessions.mean[:, 1:], sessions.mean[:, :-1], dim=-1).abs() * pair
    return similar.sum(dim=1) / pair.sum(dim=1).clamp(min=1)


def alignment(items: Sessions, queries: Sessions) -> Tensor:
    """(B,) minus the mean cosine of the sessions of both branches, which should agree."""
    pair = items.there & queries.there
    similar = F.cosine_similarity(items.mean, queries.mean, dim=-1) * pair
    return -similar.sum(dim=1) / pair.sum(dim=1).clamp(min=1)


class Encoded(NamedTuple):
    """The state of a sample, and its session loss."""

    state: Tensor  # (B, d)
    sessions: Tensor  # (B,)


class UnifiedSSR(DotBaseline):
    """UnifiedSSR: recommendation reads only the item branch; search reads the item and query branches together.

    Each layer attends to its own branch, then to the other, with the same parameters for both.

    Args:
        sessions: number of sessions of a sequence.
        session_weight: weight of the losses of discrimination and alignment.
        search_weight: weight of L_s, relative to L_r.
    """

    reads: ClassVar[frozenset[str]] = frozenset({USER, QUERY, REC, SRC})
    tasks: ClassVar[tuple[Task, ...]] = TASKS

    def __init__(
        self, domain: Domain, dim: int = 32, layers: int = 2, heads: int = 4, dropout: float = 0.5,
        sessions: int = 2, session_weight: float = 0.1, search_weight: float = 1.0, loss: ItemLoss = "bce",
    ) -> None:  # fmt: skip
        super().__init__(loss)
        self.sessions = sessions
        self.weights = {"sessions": session_weight, "search": search_weight}
        self.items = L.ItemEmbedding(domain.n_items, dim)
        self.words = L.word_embedding(domain, dim)
        self.users = L.embedding(domain.n_users, dim)
        self.start = nn.Parameter(L.embedding(1, dim).weight.detach()[0])
        self.placed = L.HistoryEmbedding(dim, domain.max_history + 1, dropout)
        self.layers = nn.ModuleList(L.CrossBlock(dim, heads, dropout, feed_forward=2 * dim) for _ in range(layers))
        self.norm = nn.LayerNorm(dim)
        self.items_or_queries = nn.Parameter(torch.zeros(()))  # its σ starts at .5

    def with_start(self, items: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """(B, H, d), (B, H) → (B, H + 1, d) and the mask.

        A learned vector precedes the first event.
        """
        started = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
        moved = torch.cat([torch.zeros_like(items[:, :1]), items], dim=1)
        first = started.int().argmax(dim=1)
        at_first = F.one_hot(first, started.shape[1]).unsqueeze(-1)  # (B, H + 1, 1)
        return moved + at_first * self.start, started

    def encode(self, branches: list[Tensor], mask: Tensor, user: Tensor) -> list[Tensor]:
        """One branch, or two that attend to each other: (B, H, d) each."""
        causal = L.causal(mask.shape[1], mask.device)
        own = self.users(user).unsqueeze(1)
        states = [self.placed(branch + own, mask) for branch in branches]
        for layer in self.layers:
            states = [
                layer(state, mask, other, mask, causal) for state, other in zip(states, reversed(states), strict=True)
            ]
        return [self.norm(state) * mask.unsqueeze(-1) for state in states]

    def _recommend(self, batch: BaselineBatch) -> Encoded:
        history = batch.rec_history
        items, mask = self.with_start(self.items.embed_history(history), history.mask)
        (states,) = self.encode([items], mask, batch.user)
        sessions = find_sessions(states, mask, self.sessions)
        return Encoded(states[:, -1] + sessions.last, discrimination(sessions))

    def _search(self, batch: BaselineBatch) -> Encoded:
        """Place t has the previous item and the current query, so the last place has the sample's query."""
        history = batch.src_history
        items, mask = self.with_start(self.items.embed_history(history), history.mask)
        asked = L.mean_words(self.words, history.query)
        queries = torch.cat([asked, L.mean_words(self.words, batch.query).unsqueeze(1)], dim=1)
        encoded = self.encode([items, queries], mask, batch.user)
        both = [find_sessions(states, mask, self.sessions) for states in encoded]
        by_items, by_queries = (states[:, -1] + sessions.last for states, sessions in zip(encoded, both, strict=True))
        share = 0.1 + 0.8 * torch.sigmoid(self.items_or_queries)
        sessions = discrimination(both[0]) + discrimination(both[1]) + alignment(*both)
        return Encoded(share * by_items + (1 - share) * by_queries, sessions)

    def _run(self, batch: BaselineBatch) -> Encoded:
        state = self.start.new_zeros(len(batch.task), len(self.start))
        sessions = state[:, 0]
        for number, run in enumerate((self._recommend, self._search)):
            rows = torch.nonzero(batch.task == number).squeeze(1)
            if len(rows):
                encoded = run(batch.take(rows))
                # Under autocast the states are bf16.
                state = state.index_copy(0, rows, encoded.state.to(state.dtype))
                sessions = sessions.index_copy(0, rows, encoded.sessions.to(sessions.dtype))
        return Encoded(state, sessions)

    def state(self, batch: BaselineBatch) -> Tensor:
        """(B, d) of the task's branch. For search a learned mix of the branches, each at least a tenth."""
        return self._run(batch).state

    def loss(self, batch: BaselineBatch) -> LossParts:
        """L_r + w_s L_s + w L_sessions. A task without rows adds nothing."""
        encoded = self._run(batch)
        each = losses.item_loss(self.item_loss, encoded.state, self.items.table.weight, batch.candidates)
        rows = {task: each[batch.task == number] for number, task in enumerate(TASKS)}
        return losses.total(rows | {"sessions": encoded.sessions}, self.weights)
