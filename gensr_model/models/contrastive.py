"""Eq. 10 (§5.2.2) draws the two views of one user together and those of different users apart."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gensr_model.data.batches import Batch
from gensr_model.models.text_pooling import masked_mean
from gensr_model.models.views import EncodedView
from gensr_model.runtime import distributed


class ContrastiveAlignment(nn.Module):
    """L_c over the distinct users of a batch, across all processes.

    A user's view is the mean of the encoded history, before the filter, through one linear map per view.
    """

    def __init__(self, cf_dim: int, semantic_dim: int, tau: float) -> None:
        super().__init__()
        self.align_cf = nn.Linear(cf_dim, cf_dim)
        self.align_semantic = nn.Linear(semantic_dim, cf_dim)
        self.tau = tau

    def forward(self, batch: Batch, cf: EncodedView, semantic: EncodedView) -> Tensor:
        """The scalar loss of both views of a batch."""
        facts = (batch.user, batch.history_end, batch.history_mask.any(dim=1))
        rows = distinct_users(*(distributed.gather_rows(fact) for fact in facts))
        cf_users = distributed.gather_rows(self.align_cf(masked_mean(cf.history, cf.mask)))
        semantic_users = distributed.gather_rows(self.align_semantic(masked_mean(semantic.history, semantic.mask)))
        return contrastive_loss(cf_users[rows], semantic_users[rows], self.tau)


def distinct_users(user: Tensor, history_end: Tensor, has_history: Tensor) -> Tensor:
    """Rows (R,) of a batch that enter Eq. 10: for each distinct user the sample with the latest history.

    Args:
        user, history_end: (B,). has_history: (B,) bool; users without any history do not enter.
    """
    order = torch.argsort(history_end, stable=True)
    order = order[torch.argsort(user[order], stable=True)]
    last = torch.ones_like(order, dtype=torch.bool)
    last[:-1] = user[order][1:] != user[order][:-1]
    rows = order[last]
    return rows[has_history[rows]]


def contrastive_loss(cf: Tensor, semantic: Tensor, tau: float) -> Tensor:
    """Eq. 10 as printed. The loss is at least ln 2, because u′ runs over all of B in both sums, u included.

    Args:
        cf, semantic: (R, k) projected views of R distinct users.
    """
    if len(cf) == 0:
        return cf.sum()
    # In fp32 also under autocast: bf16 resolves a cosine near 1 to .004, and division by τ makes that 20 times coarser.
    with torch.autocast(cf.device.type, enabled=False):
        similarity = (
            F.normalize(cf.float(), dim=-1) @ F.normalize(semantic.float(), dim=-1).T / tau
        )  # (R, R): sim(C_u, S_u')
    log_denominator = torch.logsumexp(torch.cat([similarity, similarity.T], dim=1), dim=1)
    return (log_denominator - similarity.diagonal()).mean()
