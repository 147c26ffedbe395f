"""A small grid, the same number of trials for everyone, chosen on valid."""

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
    """What one point of the grid gave."""

    point: Point
    metric: float  # best valid mean NDCG@5; −∞ where training failed
    error: str = ""


def default(grid: Grid) -> Point:
    """The first value of each: what is tried first, and what an untuned system has."""
    return {name: values[0] for name, values in grid.items()}


def points(grid: Grid, trials: int) -> list[Point]:
    """At most ``trials`` points: the defaults, which are the first of each, and others drawn without repetition.

    The draw follows from the grid's size alone, so that it is the same on every day and every machine.
    """
    every = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    rest = np.random.default_rng(len(every)).permutation(np.arange(1, len(every)))
    return [every[0], *(every[place] for place in rest[: trials - 1])]


def choose(grid: Grid, trials: int, run: Callable[[int, Point], float]) -> tuple[Trial, list[Trial]]:
    """Try the points; the best on valid, the earlier of equals, and all of them.

    Args:
        run: gives the metric of a trial by its number and point. A DivergedError is a failed trial; what else goes
            wrong, such as a full disk, is not the point's fault and ends the search.
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
        raise DivergedError(f"all {len(tried)} trials failed; the first: {tried[0].error}")
    return best, tried
