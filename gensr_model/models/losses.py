"""Losses that several models share. Scores are (B, C), with the positive in column 0.

Most losses give one value per sample, (B,), so that a model can weigh its tasks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from gensr_model.models.base import LossParts
from gensr_model.runtime import distributed

# --- of the scores of candidates ---------------------------------------------------------------------------------


def bpr(scores: Tensor) -> Tensor:
    """−ln σ(positive − negative), mean over the negatives."""
    return F.softplus(scores[:, 1:] - scores[:, :1]).mean(dim=1)


def bce(scores: Tensor) -> Tensor:
    """Binary cross-entropy, mean over the candidates."""
    return binary_cross_entropy(scores).mean(dim=1)


def binary_cross_entropy(scores: Tensor) -> Tensor:
    """(B, C) binary cross-entropy of each candidate."""
    label = torch.zeros_like(scores)
    label[:, 0] = 1
    return F.binary_cross_entropy_with_logits(scores, label, reduction="none")


def listwise_loss(scores: Tensor) -> Tensor:
    """−log of the positive's share of a softmax over the row."""
    return torch.logsumexp(scores, dim=1) - scores[:, 0]


CandidateLoss = Literal["bce", "bpr", "listwise"]
ItemLoss = Literal["bce", "bpr", "listwise", "catalogue"]
_OF_SCORES: dict[str, Callable[[Tensor], Tensor]] = {"bce": bce, "bpr": bpr, "listwise": listwise_loss}


def candidate_loss(kind: CandidateLoss, scores: Tensor) -> Tensor:
    """(B,) the named loss of candidate scores (B, C)."""
    return _OF_SCORES[kind](scores)


def item_loss(kind: ItemLoss, states: Tensor, rows: Tensor, candidates: Tensor) -> Tensor:
    """(B,) the named loss of the scores state · item, over the catalogue or over the candidates of each sample.

    Args:
        states: (B, d). rows: (I, d) item vectors. candidates: (B, C) item_idx.
    """
    if kind == "catalogue":
        return catalogue_ce(states, rows, candidates[:, 0])
    return candidate_loss(kind, (F.embedding(candidates, rows) @ states.unsqueeze(-1)).squeeze(-1))


# --- over the catalogue ------------------------------------------------------------------------------------------

# A catalogue of more than SAMPLED_ABOVE items uses SAMPLED drawn items per batch.
SAMPLED_ABOVE, SAMPLED = 20_000, 4_096


def catalogue_ce(
    states: Tensor, rows: Tensor, target: Tensor, above: int = SAMPLED_ABOVE, count: int = SAMPLED
) -> Tensor:
    """(n,) cross-entropy over the whole catalogue. A catalogue of more than ``above`` items uses ``count`` drawn items.

    Args:
        states: (n, d). rows: (I, d) item vectors. target: (n,) item_idx.
    """
    if len(rows) > above:
        return sampled_cross_entropy(states, rows, target, count)
    return F.cross_entropy(states @ rows.T, target, reduction="none")


def sampled_cross_entropy(state: Tensor, rows: Tensor, target: Tensor, count: int) -> Tensor:
    """(B,) estimate of the cross-entropy over all J ``rows``, from ``count`` rows drawn uniformly for the batch.

    A drawn row stands for J / count rows, so its logit grows by log(J / count). A drawn row that is a sample's own
    target does not count for that sample (Jean et al. 2015).

    Args:
        state: (B, d); rows: (J, d); target: (B,) row of each sample.
    """
    drawn = torch.randint(len(rows), (count,), device=state.device)
    others = state @ rows[drawn].T + math.log(len(rows) / count)  # (B, count)
    others = others.masked_fill(drawn == target.unsqueeze(1), -torch.inf)
    positive = (state * rows[target]).sum(dim=1, keepdim=True)
    return torch.logsumexp(torch.cat([positive, others], dim=1), dim=1) - positive.squeeze(1)


# --- of pairs of vectors -----------------------------------------------------------------------------------------


def info_nce(a: Tensor, b: Tensor, tau: float) -> Tensor:
    """(N,) InfoNCE of row pairs (B, d) by cosine similarity, with the other rows of the batch as negatives.

    N is the number of pairs of all processes.
    """
    a, b = distributed.gather_rows(a.float()), distributed.gather_rows(b.float())
    similar = F.normalize(a, dim=-1) @ F.normalize(b, dim=-1).T / tau
    return torch.logsumexp(similar, dim=1) - similar.diagonal()


# --- the sum -----------------------------------------------------------------------------------------------------


def total(rows: dict[str, Tensor], weights: dict[str, float] | None = None) -> LossParts:
    """Weighted sum of the means of per-sample losses (n,). A loss without samples adds nothing."""
    means = {name: distributed.mean(values) for name, values in rows.items()}
    weighted = [(weights or {}).get(name, 1.0) * value for name, value in means.items()]
    return LossParts(torch.stack(weighted).sum(), {name: value.detach() for name, value in means.items()})
