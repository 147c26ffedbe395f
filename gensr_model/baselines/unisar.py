"""UniSAR (Shi et al., SIGIR 2024): transitions between search and recommendation, extracted, aligned and fused.

Departures:

- Both behaviors together have the latest ``max_history`` events, as in GenSR. A search event has one clicked item.
- Items and users have no attributes besides their ids. Embedded events get layer norm and dropout.
- Only the latest pair of query and item of each history is aligned.
- A negative of an alignment is another row of the batch, of another user, query and item. Its similarity starts
  unsaturated, and its temperature is fixed.
- The transformers use GELU. Candidate, user and query are normed before the experts, and ReLU layers start as in He et
  al., to learn sooner.

As in the authors' code: one layer, two heads, feed-forward width d, PLE with 4 shared and 4 own experts. Their weights
of the losses differ by dataset; the grid has both sets (``baselines/registry.py``), and a table names the chosen point.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from gensr_model.baselines import layers as L
from gensr_model.baselines.augment import query_key
from gensr_model.baselines.base import Baseline
from gensr_model.baselines.inputs import MIXED, QUERY, USER, BaselineBatch, Domain, History
from gensr_model.config.base import TASKS, Task
from gensr_model.models import losses
from gensr_model.models.base import LossParts
from gensr_model.models.losses import CandidateLoss
from gensr_model.models.text_pooling import masked_mean
from gensr_model.runtime import distributed

EXPERT, TOWER = 64, (128, 64, 200, 80)  # widths of an expert and of the layers above the experts


class Transitions(NamedTuple):
    """Vectors of the W events of one behavior, after attention to their own behavior and to the other."""

    same: Tensor  # (B, W, d) r2r or s2s
    cross: Tensor  # (B, W, d) s2r or r2s
    mask: Tensor  # (B, W)


def cross_type(behavior: Tensor) -> Tensor:
    """(B, H) → (B, H, H) mask that allows attention only to events of the other behavior, before and after."""
    return behavior.unsqueeze(2) != behavior.unsqueeze(1)


def chosen_events(chosen: Tensor) -> tuple[Tensor, Tensor]:
    """Mask (B, H) of chosen events → their places (B, W) in order and the mask (B, W).

    Both are padded on the left.
    """
    width = max(1, int(chosen.sum(dim=1).max()))
    places = chosen.long().argsort(dim=1, stable=True)[:, -width:]
    return places, chosen.gather(1, places)


def take(events: Tensor, places: Tensor) -> Tensor:
    """(B, H, d) at places (B, W) → (B, W, d)."""
    return events.gather(1, places.unsqueeze(-1).expand(-1, -1, events.shape[-1]))


class Alignment(nn.Module):
    """InfoNCE between two views of N rows, in both directions, with similarity tanh(aᵀ W b) / τ."""

    def __init__(self, dim: int, tau: float) -> None:
        super().__init__()
        self.weight = nn.Linear(dim, dim, bias=False)
        self.tau = tau

    def forward(self, a: Tensor, b: Tensor, alike: Tensor) -> Tensor:
        """(N, d), (N, d) → (N,). ``alike`` (N, N): pairs of rows that are no negatives of each other."""
        similar = torch.tanh(self.weight(a) @ b.T) / self.tau  # (N, N)
        others = ~torch.eye(len(a), dtype=torch.bool, device=a.device)
        similar = similar.masked_fill(alike & others, -torch.inf)
        both = torch.logsumexp(similar, dim=0) + torch.logsumexp(similar, dim=1)
        return both / 2 - similar.diagonal()


class PLE(nn.Module):
    """One layer of progressive layered extraction (Tang et al., RecSys 2020): shared experts, task experts, a gate.

    g_t(x) = Σ_e softmax(W_t x)_e · expert_e(x) over the experts of task t and the shared ones.
    """

    def __init__(self, inputs: int, width: int, experts: int, dropout: float) -> None:
        super().__init__()
        self.width = width
        self.shared = nn.Linear(inputs, experts * width)
        self.own = nn.ModuleList(nn.Linear(inputs, experts * width) for _ in TASKS)
        self.gates = nn.ModuleList(nn.Linear(inputs, 2 * experts) for _ in TASKS)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, task: int) -> Tensor:
        """(..., inputs) of one task → (..., width)."""
        answers = torch.cat([self.own[task](x), self.shared(x)], dim=-1)
        answers = self.dropout(torch.relu(answers)).unflatten(-1, (-1, self.width))  # (..., experts, width)
        gate = self.gates[task](x).softmax(dim=-1)
        return (gate.unsqueeze(-2) @ answers).squeeze(-2)


class Features(nn.Module):
    """tanh(W e + b) of an id's embedding e, half as wide."""

    def __init__(self, count: int, dim: int) -> None:
        super().__init__()
        self.table = L.embedding(count, dim // 2)
        self.project = nn.Linear(dim // 2, dim)

    def forward(self, ids: Tensor) -> Tensor:
        """(...) → (..., d)."""
        return torch.tanh(self.project(self.table(ids)))


class UniSAR(Baseline):
    """The paper's strongest discriminative baseline. The analyses (§6.4, §6.5) compare GenSR with it.

    Args:
        heads: heads of every transformer.
        experts: number of experts per task and of shared experts, so that a gate has twice as many.
        weights: weights of L_s relative to L_r, of the alignment of same-type and cross-type transitions, and of the
            alignment of queries and clicked items.
        align_tau, pair_tau: temperatures of the two alignments.
    """

    reads: ClassVar[frozenset[str]] = frozenset({USER, QUERY, MIXED})
    tasks: ClassVar[tuple[Task, ...]] = TASKS

    def __init__(
        self, domain: Domain, dim: int = 64, heads: int = 2, dropout: float = 0.1, experts: int = 4,
        weights: Sequence[float] = (0.1, 0.1, 0.001), align_tau: float = 0.1, pair_tau: float = 0.5,
        loss: CandidateLoss = "bce",
    ) -> None:  # fmt: skip
        super().__init__()
        self.candidate_loss = loss
        self.weights = dict(zip(("search", "align", "pairs"), weights, strict=True))
        self.items, self.users = Features(domain.n_items, dim), Features(domain.n_users, dim)
        self.query = L.QueryEncoder(L.word_embedding(domain, dim // 2), dim)
        self.no_query = nn.Parameter(L.embedding(1, dim).weight.detach()[0])
        # Places 0 and 1 are one behavior, as in History.behavior; the third has both.
        self.placed = nn.ModuleList(L.HistoryEmbedding(dim, domain.max_history, dropout) for _ in range(3))
        self.encoders = nn.ModuleList(
            L.Transformer(dim, heads, 1, dropout, feed_forward=dim, norm_first=False) for _ in range(3)
        )
        self.fusions = nn.ModuleList(
            L.CrossBlock(dim, heads, dropout, feed_forward=dim, norm_first=False) for _ in range(2)
        )
        self.targets = nn.ModuleList(nn.Linear(dim, dim, bias=False) for _ in range(2))
        self.alignments = nn.ModuleList(Alignment(dim, align_tau) for _ in range(2))
        self.pairs = Alignment(dim, pair_tau)
        # Norms of candidate, user and query, because the interests have one. Without it the former start too small.
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(3))
        self.experts = PLE(5 * dim, EXPERT, experts, dropout)
        self.towers = nn.ModuleList(_tower(dropout) for _ in TASKS)
        self._start(dim)

    @torch.no_grad()
    def _start(self, dim: int) -> None:
        """Xavier's weights and no bias, as in the authors' code; He's in the six ReLU layers before a logit."""
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.xavier_normal_(layer.weight)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        for layer in [self.experts.shared, *self.experts.own, *self.towers.modules()]:
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        for align in (*self.alignments, self.pairs):  # so that tanh is not flat where it starts
            nn.init.normal_(align.weight.weight, std=1 / dim)

    def transitions(self, history: History) -> tuple[Transitions, Transitions]:
        """Extraction: the transitions of the recommendation events and of the search events."""
        mask = history.mask
        searched = mask & (history.behavior == 1)
        # A search event is its query + the clicked item.
        events = self.items(history.item) * mask.unsqueeze(-1)
        events = events + self.query(history.query) * searched.unsqueeze(-1)
        mixed = self.encoders[2](self.placed[2](events, mask), mask, cross_type(history.behavior))
        by_behavior = []
        for number in (0, 1):
            places, own = chosen_events(mask & (history.behavior == number))
            same = self.encoders[number](self.placed[number](take(events, places), own), own)
            by_behavior.append(Transitions(same, take(mixed, places) * own.unsqueeze(-1), own))
        return by_behavior[0], by_behavior[1]

    def _interests(self, candidates: Tensor, transitions: tuple[Transitions, Transitions]) -> Tensor:
        """(B, C, 2d) fusion and target attention: the interests in either behavior for the candidates (B, C, d)."""
        interests = []
        for number, (same, cross, mask) in enumerate(transitions):
            fused = self.fusions[number](same, mask, cross, mask)
            scores = candidates @ self.targets[number](fused).transpose(1, 2)  # (B, C, W)
            interests.append(L.attention_pool(scores, fused, mask))
        return torch.cat(interests, dim=-1)

    def hidden(self, batch: BaselineBatch) -> Tensor:
        """(B, C, 2d) both interests, the shared encoder's output for both tasks (§6.4.2). The query enters after it."""
        return self._interests(self.items(batch.candidates), self.transitions(batch.history))

    def _logits(self, batch: BaselineBatch, transitions: tuple[Transitions, Transitions]) -> Tensor:
        """Fusion, target attention and multi-task heads: (B, C)."""
        candidates = self.items(batch.candidates)  # (B, C, d)
        interests = self._interests(candidates, transitions)
        asked = (batch.task == 1).unsqueeze(-1)
        query = torch.where(asked, self.query(batch.query), self.no_query)  # (B, d)
        context = [candidates, *(x.unsqueeze(1).expand_as(candidates) for x in (self.users(batch.user), query))]
        context = [norm(x) for norm, x in zip(self.norms, context, strict=True)]
        features = torch.cat([interests, *context], dim=-1)  # (B, C, 5d)
        logits = features.new_zeros(batch.candidates.shape)
        for number in range(len(TASKS)):
            rows = torch.nonzero(batch.task == number).squeeze(1)
            answers = self.towers[number](self.experts(features[rows], number)).squeeze(-1)
            logits = logits.index_copy(0, rows, answers.to(logits.dtype))  # bf16 under autocast
        return logits

    def score(self, batch: BaselineBatch) -> Tensor:
        """(B, C) logits of a click, each row from the head of its task."""
        return self._logits(batch, self.transitions(batch.history))

    def _align(self, batch: BaselineBatch, transitions: tuple[Transitions, Transitions]) -> Tensor:
        """(R,) alignment loss of the rows whose history has both behaviors, and so transitions between them.

        R counts the rows of all processes.
        """
        both = torch.stack([t.mask.any(dim=1) for t in transitions]).all(dim=0)
        alike = _equal(distributed.gather_rows(batch.user[both]))
        parts = []
        for align, (same, cross, mask) in zip(self.alignments, transitions, strict=True):
            views = (distributed.gather_rows(masked_mean(view[both], mask[both])) for view in (cross, same))
            parts.append(align(*views, alike))
        return parts[0] + parts[1]

    def _pair(self, history: History) -> Tensor:
        """(R,) alignment loss of queries and clicked items, for each history's latest search."""
        places, mask = chosen_events(history.mask & (history.behavior == 1))
        rows = torch.nonzero(mask[:, -1]).squeeze(1)
        item, query = history.item[rows, places[rows, -1]], history.query[rows, places[rows, -1]]
        asked = distributed.gather_rows(self.query(query))
        item, key = (distributed.gather_rows(fact) for fact in (item, query_key(query)))
        return self.pairs(asked, self.items(item), _equal(item) | _equal(key))

    def loss(self, batch: BaselineBatch) -> LossParts:
        """L_r + w_s L_s + w_a L_align + w_p L_pairs. A task without rows adds nothing."""
        transitions = self.transitions(batch.history)
        click = losses.candidate_loss(self.candidate_loss, self._logits(batch, transitions))
        rows: dict[str, Tensor] = {task: click[batch.task == number] for number, task in enumerate(TASKS)}
        rows |= {"align": self._align(batch, transitions), "pairs": self._pair(batch.history)}
        return losses.total(rows, self.weights)

    def task_losses(self, batch: BaselineBatch) -> tuple[Tensor, Tensor]:
        """L_r and L_s before weighting: the mean loss of each task's rows. NaN for a task without rows."""
        click = losses.candidate_loss(self.candidate_loss, self.score(batch))
        return click[batch.task == 0].mean(), click[batch.task == 1].mean()

    def conflict_parameters(self) -> list[nn.Parameter]:
        """The self-attention of the encoder over both behaviors. §6.5 compares its task gradients."""
        return list(self.encoders[2].get_submodule("layers.0.self_attn").parameters())


def _equal(values: Tensor) -> Tensor:
    """(N,) → (N, N)."""
    return values.unsqueeze(0) == values.unsqueeze(1)


def _tower(dropout: float) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in zip((EXPERT, *TOWER), TOWER, strict=False):
        layers += [nn.Linear(inputs, outputs), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers, nn.Linear(TOWER[-1], 1))
