"""A small grid search: the same number of trials for every system, chosen on the validation split."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from gensr_model.errors import DivergedError

Point = dict[str, Any]  # hyperparameter -> value
Grid = dict[str, tuple[Any, ...]]


class Trial(NamedTuple):
    """The result of one point of the grid."""

    point: Point
    metric: float  # best valid mean NDCG@5; −∞ where training failed
    error: str = ""


def default(grid: Grid) -> Point:
    """The first value of each hyperparameter. The search tries it first, and an untuned system uses it."""
    return {name: values[0] for name, values in grid.items()}


def points(grid: Grid, trials: int) -> list[Point]:
    """At most ``trials`` points: the defaults, which are the first values, and others drawn without repetition.

    The draw depends only on the size of the grid, so it is the same on every machine.
    """
    every = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    rest = np.random.default_rng(len(every)).permutation(np.arange(1, len(every)))
    return [every[0], *(every[place] for place in rest[: trials - 1])]


def choose(grid: Grid, trials: int, run: Callable[[int, Point], float]) -> tuple[Trial, list[Trial]]:
    """Try the points. Returns the best on valid, the earlier of equals, and all trials.

    Args:
        run: gives the metric of a trial by its number and point. A DivergedError is a failed trial. Other errors, such
            as a full disk, are not caused by the point and end the search.
    Raises:
        DivergedError: every trial failed.
    """
    tried = []
    for number, point in enumerate(points(grid, trials)):
        try:
            tried.append(Trial(point, run(number, point)))
        except DivergedError as error:
            tried.append(Trial(point, -math.inf, str(error)))
    best = max(tried, key=lambda trial: trial.metric)
    if best.metric == -math.inf:
        raise DivergedError(f"all {len(tried)} trials failed. The first error: {tried[0].error}")
    return best, tried
