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
