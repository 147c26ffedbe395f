"""Is one model better than another? Paired differences over the same samples (§6.1.3, DESIGN §5)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from scipy import stats

from gensr_model.errors import DataError
from gensr_model.evaluation.metrics import per_sample

_CHUNK = 4_000_000  # resampled values held at once: 32 MB of indices, 32 MB of differences


class Comparison(NamedTuple):
    """Difference a − b of a metric over n paired samples."""

    mean_difference: float
    low: float  # bounds of the two-sided percentile bootstrap interval of the mean
    high: float
    t: float  # paired t-test, two-sided
    p: float
    n: int


def paired_bootstrap(
    a: pa.Table,
    b: pa.Table,
    metric: str = "ndcg_at_10",
    samples: int = 2_000,
    confidence: float = 0.95,
    seed: int = 0,
    task: str | None = None,
) -> Comparison:
    """Compare two ranks tables, matched by sample_id whatever their order; `task` keeps one task's rows.

    The interval holds the central `confidence` of `samples` bootstrap means. Raises DataError when the
    tables do not rank the same samples, or when there is none.
    """
    if task is not None:
        a, b = (ranks.filter(pc.equal(ranks["task"], task)) for ranks in (a, b))
    difference = _paired_difference(a, b, metric)
    means = _bootstrap_means(difference, samples, np.random.default_rng(seed))
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(means, [tail, 1.0 - tail])
    t, p = _paired_t(difference)
    return Comparison(float(difference.mean()), float(low), float(high), t, p, len(difference))


def _paired_difference(a: pa.Table, b: pa.Table, metric: str) -> npt.NDArray[np.float64]:
    ids_a, ids_b = (np.asarray(ranks["sample_id"].to_pylist(), dtype=str) for ranks in (a, b))
    order_a, order_b = np.argsort(ids_a), np.argsort(ids_b)
    for name, ids in (("first", ids_a[order_a]), ("second", ids_b[order_b])):
        if (ids[1:] == ids[:-1]).any():
            raise DataError(f"the {name} ranks table holds a sample_id twice; expected one row per sample")
    if not np.array_equal(ids_a[order_a], ids_b[order_b]):
        only_a, only_b = np.setdiff1d(ids_a, ids_b), np.setdiff1d(ids_b, ids_a)
        example = (only_a if len(only_a) else only_b)[0]
        raise DataError(
            f"the two models ranked different samples: {len(only_a)} only in the first, {len(only_b)} only "
            f"in the second (for example {example}); score both on the same prepared dataset and split"
        )
    if len(ids_a) == 0:
        raise DataError("no sample to compare: both ranks tables are empty")
    return per_sample(a, metric)[order_a] - per_sample(b, metric)[order_b]


def _bootstrap_means(
    values: npt.NDArray[np.float64], samples: int, rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Means of `samples` resamples of (n,) `values`; memory is bounded by `_CHUNK` at any n."""
    rows = max(1, _CHUNK // len(values))
    means = [
        values[rng.integers(len(values), size=(min(rows, samples - start), len(values)))].mean(axis=1)
        for start in range(0, samples, rows)
    ]
    return np.concatenate(means)


def _paired_t(difference: npt.NDArray[np.float64]) -> tuple[float, float]:
    if not difference.any():
        return 0.0, 1.0  # the same ranking everywhere: scipy would say 0/0
    if len(difference) < 2:
        return float("nan"), float("nan")
    result = stats.ttest_1samp(difference, 0.0)
    return float(result.statistic), float(result.pvalue)
