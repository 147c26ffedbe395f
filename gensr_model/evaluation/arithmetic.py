"""Checks that the figures of a results table are possible with one positive per sample."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, NamedTuple

# NDCG at 10 less NDCG at 5 counts ranks 6 to 10, each with 1 / log2(rank + 1); recall counts each of them with 1.
LOWEST, HIGHEST = 1 / math.log2(11), 1 / math.log2(7)
Place = Literal["inside", "outside", "undecided"]


class Figures(NamedTuple):
    """One row of a table for one task, as it is printed."""

    name: str
    recall_at_5: float
    recall_at_10: float
    ndcg_at_5: float
    ndcg_at_10: float
    digits: int | None = None  # decimals printed; None where nothing was rounded

    @staticmethod
    def of(name: str, metrics: Mapping[str, float]) -> Figures:
        """Figures from metrics by name, as ``metrics.summarize`` returns them."""
        recall, ndcg = ([metrics[f"{kind}_at_{k}"] for k in (5, 10)] for kind in ("recall", "ndcg"))
        return Figures(name, recall[0], recall[1], ndcg[0], ndcg[1])


def ranks_six_to_ten(row: Figures) -> Place:
    """Whether ranks 6 to 10 can give these figures, which are means over samples or seeds with one positive each.

    A figure of d decimals is within half of 10^−d of the true one. So each difference of two figures is within δ =
    10^−d of the true difference, and the true pair (recall, NDCG) lies in a square around the printed one. Possible
    pairs are those of the cone ``LOWEST`` · recall ≤ NDCG ≤ ``HIGHEST`` · recall, recall ≥ 0.

    Returns:
        inside: the whole square lies in the cone.
        outside: no point of the square does, so no ranking gives these figures.
        undecided: some points do, or recall does not rise by more than the rounding.
    """
    delta = 0.0 if row.digits is None else 10.0**-row.digits
    recall, ndcg = row.recall_at_10 - row.recall_at_5, row.ndcg_at_10 - row.ndcg_at_5
    below, above = LOWEST * recall - ndcg, ndcg - HIGHEST * recall  # how far outside either edge, 0 on it
    floats = 1e-9  # subtracting decimals is not exact
    # A line along an edge of one of them separates a square and a cone that do not meet.
    edges = (below - delta * (1 + LOWEST), above - delta * (1 + HIGHEST), -recall - delta, -ndcg - delta)
    if max(edges) > floats:
        return "outside"
    if recall - delta <= floats:
        return "undecided"
    return "inside" if max(below + delta * (1 + LOWEST), above + delta * (1 + HIGHEST)) <= floats else "undecided"
