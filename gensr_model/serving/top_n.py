"""The best of many scores, in a fixed order."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from gensr_model.data.prepared import IntArray


def best_places(scores: npt.NDArray[Any], limit: int) -> IntArray:
    """Places of the ``limit`` largest scores above −∞ in (n,), best first. Ties are in order of place."""
    if limit < len(scores):
        edge = np.partition(scores, len(scores) - limit)[len(scores) - limit]
        place = np.flatnonzero((scores >= edge) & (scores > -np.inf))
    else:
        place = np.flatnonzero(scores > -np.inf)
    return place[np.argsort(-scores[place], kind="stable")[:limit]]


def best_of_rows(scores: npt.NDArray[Any], limit: int) -> tuple[IntArray, IntArray, npt.NDArray[Any]]:
    """``best_places`` of each row of (b, n): how many there are (b,), and places and scores of all rows, joined."""
    rows, width = scores.shape
    if limit >= width or not rows:
        edge = np.full((rows, 1), -np.inf, scores.dtype)
    else:
        edge = np.partition(scores, width - limit, axis=1)[:, width - limit, None]
    chosen = (scores >= edge) & (scores > -np.inf)
    counts = np.minimum(chosen.sum(axis=1), limit)
    row, place = np.nonzero(chosen)
    order = np.lexsort((place, -scores[row, place], row))
    row, place = row[order], place[order]
    first = np.searchsorted(row, np.arange(rows))
    within = np.arange(len(row)) - first[row] < limit  # more are chosen where scores tie with the last of the best
    row, place = row[within], place[within]
    return counts, place, scores[row, place]
