"""DIN (Zhou et al. 2018): every candidate weighs the history by its own attention."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from gensr_model.baselines import layers as L
from gensr_model.baselines.base import Baseline
from gensr_model.baselines.inputs import REC, USER, BaselineBatch, Domain
from gensr_model.config.base import Task
from gensr_model.models import losses
from gensr_model.models.base import LossParts
from gensr_model.models.losses import CandidateLoss

PAIRS = 100_000  # candidate-event pairs in one call: bounds the memory of scoring, changes no score


class LocalActivation(nn.Module):
    """Eq. 3: the sum Σ_j a(e_j, v) e_j over the history, not normalised.

    a is an MLP on [v, e_j, v − e_j, v ∘ e_j].
    """

    def __init__(self, dim: int, hidden: tuple[int, int]) -> None:
        super().__init__()
        self.first = nn.Linear(4 * dim, hidden[0])
        self.rest = nn.Sequential(nn.PReLU(), nn.Linear(hidden[0], hidden[1]), nn.PReLU(), nn.Linear(hidden[1], 1))

    def forward(self, candidates: Tensor, events: Tensor, mask: Tensor) -> Tensor:
        """(B, C, d), (B, H, d), (B, H) → (B, C, d); zeros for an empty history."""
        rows = max(1, PAIRS // (candidates.shape[1] * events.shape[1]))
        pieces = zip(candidates.split(rows), events.split(rows), mask.split(rows), strict=True)
        return torch.cat([self.weights(v, e, there) @ e for v, e, there in pieces])

    def weights(self, candidates: Tensor, events: Tensor, mask: Tensor) -> Tensor:
        """(B, C, H) of every candidate and event, 0 at padding."""
        # The first layer in parts: three of the four terms need one product per vector, not per pair.
        of_v, of_e, of_difference, of_product = self.first.weight.chunk(4, dim=1)  # (hidden, d) each
        own = candidates @ (of_v + of_difference).T + self.first.bias  # (B, C, hidden)
        other = events @ (of_e - of_difference).T  # (B, H, hidden)
        product = candidates.unsqueeze(2) * events.unsqueeze(1)  # (B, C, H, d)
        hidden = product @ of_product.T + own.unsqueeze(2) + other.unsqueeze(1)
        weights: Tensor = self.rest(hidden).squeeze(-1)
        return weights * mask.unsqueeze(1)


class DIN(Baseline):
    """DIN: an MLP over [attended history, candidate, user], trained with cross-entropy.

    Departures: PReLU in place of Dice, whose batch statistics tie a sample's loss to its batch; the trainer's weight
    decay in place of mini-batch aware regularisation.
    """

    reads: ClassVar[frozenset[str]] = frozenset({REC, USER})
    tasks: ClassVar[tuple[Task, ...]] = ("recommendation",)

    def __init__(
        self,
        domain: Domain,
        dim: int = 64,
        attention: tuple[int, int] = (64, 16),
        hidden: tuple[int, ...] = (256, 128),
        dropout: float = 0.2,
        loss: CandidateLoss = "bce",
    ) -> None:
        super().__init__()
        self.candidate_loss = loss
        self.items = L.ItemEmbedding(domain.n_items, dim)
        self.users = L.embedding(domain.n_users, dim)
        self.attend = LocalActivation(dim, attention)
        self.predict = L.mlp((3 * dim, *hidden, 1), dropout)

    def score(self, batch: BaselineBatch) -> Tensor:
        """(B, C) logits of a click."""
        history, candidates = batch.rec_history, self.items(batch.candidates)
        pooled = self.attend(candidates, self.items.embed_history(history), history.mask)
        user = self.users(batch.user).unsqueeze(1).expand_as(candidates)
        logits: Tensor = self.predict(torch.cat([pooled, candidates, user], dim=-1)).squeeze(-1)
        return logits

    def loss(self, batch: BaselineBatch) -> LossParts:
        return losses.total({self.candidate_loss: losses.candidate_loss(self.candidate_loss, self.score(batch))})
