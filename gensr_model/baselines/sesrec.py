"""SESRec (Si et al. 2023): separates similar and dissimilar interests of a user's searches and recommendations."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gensr_model.baselines import layers as L
from gensr_model.baselines.augment import query_key
from gensr_model.baselines.base import Baseline
from gensr_model.baselines.inputs import REC, SRC, USER, BaselineBatch, Domain, History
from gensr_model.config.base import Task
from gensr_model.models import losses
from gensr_model.models.base import LossParts
from gensr_model.models.losses import CandidateLoss
from gensr_model.runtime import distributed


class CoAttention(nn.Module):
    """Relevance of each event of one history to the other history.

    A = tanh(R W Sᵀ); weights of R: softmax(w · tanh(R W_r + A (S W_s))), and of S with Aᵀ.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.affinity = nn.Linear(dim, dim, bias=False)
        self.project = nn.ModuleList(nn.Linear(dim, dim, bias=False) for _ in range(2))
        self.weigh = nn.ModuleList(nn.Linear(dim, 1, bias=False) for _ in range(2))

    def forward(self, one: Tensor, two: Tensor, masks: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """(B, R, d), (B, S, d), zero at padding → weights (B, R), (B, S)."""
        affinity = torch.tanh(self.affinity(one) @ two.transpose(1, 2))  # (B, R, S), 0 at padding
        own = [project(x) for project, x in zip(self.project, (one, two), strict=True)]
        met = (own[0] + affinity @ own[1], own[1] + affinity.transpose(1, 2) @ own[0])
        scores = (weigh(torch.tanh(x)).squeeze(-1) for weigh, x in zip(self.weigh, met, strict=True))
        of_one, of_two = (L.masked_softmax(s, mask) for s, mask in zip(scores, masks, strict=True))
        return of_one, of_two


def split(weights: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """(B, H) each: events whose weight is at least the mean weight, 1 / length, and the other events."""
    mean = 1 / mask.sum(dim=1, keepdim=True).clamp(min=1)
    similar = mask & (weights >= mean)
    return similar, mask & ~similar


def triplet(states: Tensor, weights: Tensor, similar: Tensor, other: Tensor, margin: float) -> Tensor:
    """(n,) triplet loss: the weighted sum is nearer to the mean of the similar events than of the others.

    n is the number of samples with both kinds of event.
    """
    rows = similar.any(dim=1) & other.any(dim=1)
    anchor = torch.einsum("bh,bhd->bd", weights, states)
    means = [
        torch.einsum("bh,bhd->bd", part.to(states.dtype), states) / part.sum(dim=1, keepdim=True).clamp(min=1)
        for part in (similar, other)
    ]
    return F.triplet_margin_loss(anchor[rows], means[0][rows], means[1][rows], margin=margin, reduction="none")


class SESRec(Baseline):
    """SESRec: an MLP over candidate, user, and the candidate's attention to all, similar and dissimilar events.

    Loss: BCE + alignment InfoNCE of queries with the items that they found + triplet losses of both histories.
    Departure: only the latest search event of a sample is aligned; events of the same query or item are no negatives.
    """

    reads: ClassVar[frozenset[str]] = frozenset({REC, SRC, USER})
    tasks: ClassVar[tuple[Task, ...]] = ("recommendation",)

    def __init__(
        self,
        domain: Domain,
        dim: int = 64,
        layers: int = 1,
        heads: int = 2,
        dropout: float = 0.2,
        hidden: tuple[int, ...] = (128, 64),
        align_weight: float = 0.1,
        triplet_weight: float = 0.01,
        tau: float = 0.1,
        margin: float = 0.1,
        loss: CandidateLoss = "bce",
    ) -> None:
        super().__init__()
        self.candidate_loss = loss
        self.items = L.ItemEmbedding(domain.n_items, dim)
        self.users = L.embedding(domain.n_users, dim)
        self.words = L.word_embedding(domain, dim)
        self.events = nn.ModuleList(L.HistoryEmbedding(dim, domain.max_history, dropout) for _ in range(2))
        self.encoders = nn.ModuleList(L.Transformer(dim, heads, layers, dropout) for _ in range(2))
        self.co_attention = CoAttention(dim)
        self.ask = nn.ModuleList(nn.Linear(dim, dim, bias=False) for _ in range(6))
        self.predict = L.mlp((8 * dim, *hidden, 1), dropout)
        self.weights = {"align": align_weight, "triplet_rec": triplet_weight, "triplet_src": triplet_weight}
        self.tau, self.margin = tau, margin

    def states(self, batch: BaselineBatch) -> list[Tensor]:
        """(B, R, d) and (B, S, d): both encoded histories, with a search event as its query and its item."""
        recommended, searched = batch.rec_history, batch.src_history
        asked = L.mean_words(self.words, searched.query) * searched.mask.unsqueeze(-1)
        raw = (self.items.embed_history(recommended), self.items.embed_history(searched) + asked)
        return [
            encode(embed(x, history.mask), history.mask)
            for encode, embed, x, history in zip(self.encoders, self.events, raw, (recommended, searched), strict=True)
        ]

    def score(self, batch: BaselineBatch) -> Tensor:
        """(B, C) logits of a click."""
        return self._ranked(batch)[0]

    def loss(self, batch: BaselineBatch) -> LossParts:
        scores, triplets = self._ranked(batch)
        ranked = {self.candidate_loss: losses.candidate_loss(self.candidate_loss, scores)}
        return losses.total(ranked | {"align": self.align(batch.src_history)} | triplets, self.weights)

    def _ranked(self, batch: BaselineBatch) -> tuple[Tensor, dict[str, Tensor]]:
        masks = (batch.rec_history.mask, batch.src_history.mask)
        states = self.states(batch)
        weights = self.co_attention(*states, masks)
        candidates = self.items(batch.candidates)  # (B, C, d)
        seen = [candidates, self.users(batch.user).unsqueeze(1).expand_as(candidates)]
        triplets = {}
        for number, name in enumerate(("rec", "src")):
            mask, state = masks[number], states[number]
            parted = split(weights[number], mask)
            for ask, part in zip(self.ask[3 * number : 3 * number + 3], (mask, *parted), strict=True):
                seen.append(L.attention_pool(ask(candidates) @ state.transpose(1, 2), state, part))
            triplets[f"triplet_{name}"] = triplet(state, weights[number], *parted, self.margin)
        return self.predict(torch.cat(seen, dim=-1)).squeeze(-1), triplets

    def align(self, searched: History) -> Tensor:
        """(n,) InfoNCE, both ways, between the latest query and the item that it found.

        n is the number of samples with a search, in all processes.
        """
        rows = searched.mask[:, -1]
        item, words = searched.item[rows, -1], searched.query[rows, -1]
        item, key = (distributed.gather_rows(fact) for fact in (item, query_key(words)))
        queries = F.normalize(distributed.gather_rows(L.mean_words(self.words, words)), dim=-1)
        similar = queries @ F.normalize(self.items(item), dim=-1).T / self.tau  # (n, n)
        alike = (key.unsqueeze(1) == key) | (item.unsqueeze(1) == item)
        alike = alike & ~torch.eye(len(item), dtype=torch.bool, device=item.device)
        similar = similar.masked_fill(alike, -torch.inf)
        both = torch.logsumexp(similar, dim=1) + torch.logsumexp(similar, dim=0)
        return both / 2 - similar.diagonal()
