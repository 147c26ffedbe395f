"""Tests of statistics that are functions of means, by jackknife pseudo-values (Tukey 1958).

The mean of the pseudo-values is the statistic minus its first-order bias, and their spread gives its standard error. So
a t-test of the pseudo-values is a t-test of the statistic. The statistic must be smooth near the means.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


def pseudo_values(terms: FloatArray, statistic: Callable[[FloatArray], FloatArray]) -> FloatArray:
    """(N, …) pseudo-values of terms (N, K), for a statistic of their means, (…, K) → (…, …). Needs two rows or more."""
    n = len(terms)
    left_out = statistic((terms.sum(axis=0) - terms) / (n - 1))
    return np.asarray(n * statistic(terms.mean(axis=0)) - (n - 1) * left_out)


def nothing(values: FloatArray) -> bool:
    """Whether pseudo-values (N,) are 0 except for rounding, which leaving out one of N enlarges N times."""
    return bool(np.abs(values).max() <= 1e-12 * len(values))
