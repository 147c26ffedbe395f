"""Is one model better than another? Paired differences over the same samples (§6.1.3, DESIGN §5)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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
    return _compare(_paired_difference(a, b, metric), samples, confidence, seed)


class Verdict(NamedTuple):
    """Ours against the best other system of a column, a task and a metric of a results table."""

    task: str
    metric: str
    rival: str  # best mean over its seeds
    compared: Comparison  # ours − the rival, each sample's metric averaged over the seeds
    p_holm: float  # of the t-test, corrected for all columns


def against_best(
    ranks: Mapping[str, Sequence[pa.Table]],
    ours: str,
    tasks: Iterable[str],
    metrics: Sequence[str],
    samples: int = 2_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> list[Verdict]:
    """The starred comparison of Tables 2 and 3, for every column in which ours has a rival.

    Args:
        ranks: of every system its ranks tables, one per seed.
    The family of Holm's correction is all columns together. The rival is chosen on the same samples, which favours it.
    Raises DataError where two systems ranked different samples of a task.
    """
    found = []
    for task in tasks:
        of_task = {
            name: [table.filter(pc.equal(table["task"], task)) for table in tables]
            for name, tables in ranks.items()
        }
        of_task = {name: tables for name, tables in of_task.items() if tables and tables[0].num_rows}
        others = [name for name in of_task if name != ours]
        if ours not in of_task or not others:
            continue
        for metric in metrics:
            means = {n: np.mean([per_sample(t, metric).mean() for t in of_task[n]]) for n in others}
            rival = max(others, key=means.__getitem__)
            difference = _difference_of_means(of_task[ours], of_task[rival], metric)
            compared = _compare(difference, samples, confidence, seed)
            found.append(Verdict(task, metric, rival, compared, float("nan")))
    corrected = holm([verdict.compared.p for verdict in found])
    return [verdict._replace(p_holm=p) for verdict, p in zip(found, corrected, strict=True)]


def holm(p: Sequence[float]) -> list[float]:
    """Holm's (1979) step-down correction: p values that hold for the whole family at once, in the given order.

    The i-th smallest of n is multiplied by n − i + 1, no result is below that of a smaller p, none is above 1. A NaN, a
    test that is not defined, stays NaN and does not count.
    """
    given = np.asarray(p, dtype=np.float64)
    corrected = np.full(len(given), np.nan)
    order = [place for place in np.argsort(given, kind="stable") if not np.isnan(given[place])]
    steps = given[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0) if order else steps
    return [float(value) for value in corrected]


def _difference_of_means(
    a: Sequence[pa.Table], b: Sequence[pa.Table], metric: str
) -> npt.NDArray[np.float64]:
    """Per sample, the mean over a's seeds minus the mean over b's: (n,). DataError as in `_paired_difference`."""
    first = a[0]
    # Every table against the same first one, so that all are in its order; the first one itself cancels out.
    ours = np.mean([_paired_difference(table, first, metric) for table in a], axis=0)
    theirs = np.mean([_paired_difference(table, first, metric) for table in b], axis=0)
    return np.asarray(ours - theirs)


def _compare(difference: npt.NDArray[np.float64], samples: int, confidence: float, seed: int) -> Comparison:
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
    if np.ptp(difference) == 0:
        return float("nan"), float("nan")  # the same difference everywhere: the test divides by its spread
    result = stats.ttest_1samp(difference, 0.0)
    return float(result.statistic), float(result.pvalue)
