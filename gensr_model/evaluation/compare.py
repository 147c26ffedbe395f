"""Paired comparison of models over the same samples, by user (§6.1.3)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy import stats

from gensr_model.errors import DataError
from gensr_model.evaluation.metrics import of_task, per_sample
from gensr_model.evaluation.resampling import IntArray, number_users, resampled_means, standard_error


class Comparison(NamedTuple):
    """The difference a − b of a metric over n paired samples."""

    mean_difference: float
    low: float  # bounds of the two-sided percentile bootstrap interval of the mean
    high: float
    t: float  # paired two-sided t-test, for clustered samples where a user has several
    p: float
    n: int
    users: int  # number of users of the n samples


def paired_bootstrap(
    a: pa.Table | Sequence[pa.Table],
    b: pa.Table | Sequence[pa.Table],
    metric: str = "ndcg_at_10",
    samples: int = 2_000,
    confidence: float = 0.95,
    seed: int = 0,
    task: str | None = None,
    *,
    users: pa.Table | None,
) -> Comparison:
    """Compare two ranks tables, matched by sample_id in any order. `task` selects the rows of one task.

    For a model with several seeds, give all tables: a sample's metric is then its mean over the seeds.

    The interval holds the central `confidence` of the means over `samples` resamples of `users`. `users` has the
    columns ``sample_id`` and ``user_idx`` of the prepared samples; None means that every sample has another user. For a
    single user the interval is the widest possible, −1 to 1.

    Raises DataError when the tables do not rank the same samples, when there is none, or when a sample has no user.
    """
    ids, difference = _difference_of_means(_task_tables(a, task), _task_tables(b, task), metric)
    return _compare(difference, number_users(ids, users), samples, confidence, seed)


def paired_p(a: Sequence[pa.Table], b: Sequence[pa.Table], metric: str, *, users: pa.Table | None) -> float:
    """p of the two-sided paired t-test by user. Each sample's metric is averaged over the tables, one per seed.

    NaN where the test is not defined. Raises DataError as ``paired_bootstrap`` does.
    """
    ids, difference = _difference_of_means(a, b, metric)
    return paired_t(difference, number_users(ids, users))[1]


def _task_tables(ranks: pa.Table | Sequence[pa.Table], task: str | None) -> list[pa.Table]:
    tables = [ranks] if isinstance(ranks, pa.Table) else list(ranks)
    return tables if task is None else [of_task(table, task) for table in tables]


class Verdict(NamedTuple):
    """Our model against the best other system, for one task and metric of a results table."""

    task: str
    metric: str
    baseline: str  # best mean over its seeds
    compared: Comparison  # ours − the baseline, with each sample's metric averaged over the seeds
    p_holm: float  # p of the t-test, corrected for all columns


def against_best(
    ranks: Mapping[str, Sequence[pa.Table]],
    ours: str,
    tasks: Iterable[str],
    metrics: Sequence[str],
    samples: int = 2_000,
    confidence: float = 0.95,
    seed: int = 0,
    *,
    users: pa.Table | None,
) -> list[Verdict]:
    """The starred comparison of Tables 2 and 3, for every column in which ours has a baseline.

    Holm's correction covers all columns together. The best baseline is chosen on the same samples, which favors it.

    Args:
        ranks: ranks tables of every system, one per seed.
        users: as in `paired_bootstrap`.
    Raises:
        DataError: two systems ranked different samples of a task.
    """
    verdicts = []
    for task in tasks:
        task_ranks = {name: _task_tables(tables, task) for name, tables in ranks.items()}
        task_ranks = {name: tables for name, tables in task_ranks.items() if tables and tables[0].num_rows}
        others = [name for name in task_ranks if name != ours]
        if ours not in task_ranks or not others:
            continue
        for metric in metrics:
            means = {n: np.mean([per_sample(t, metric).mean() for t in task_ranks[n]]) for n in others}
            baseline = max(others, key=means.__getitem__)
            ids, difference = _difference_of_means(task_ranks[ours], task_ranks[baseline], metric)
            compared = _compare(difference, number_users(ids, users), samples, confidence, seed)
            verdicts.append(Verdict(task, metric, baseline, compared, float("nan")))
    corrected = holm([verdict.compared.p for verdict in verdicts])
    return [verdict._replace(p_holm=p) for verdict, p in zip(verdicts, corrected, strict=True)]


def holm(p: Sequence[float]) -> list[float]:
    """Holm's (1979) step-down correction: p values that hold for the whole family, in the given order.

    The i-th smallest of n is multiplied by n − i + 1. No result is below that of a smaller p, and none is above 1. NaN,
    a test that is not defined, stays NaN and does not count.
    """
    given = np.asarray(p, dtype=np.float64)
    corrected = np.full(len(given), np.nan)
    order = [place for place in np.argsort(given, kind="stable") if not np.isnan(given[place])]
    steps = given[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0) if order else steps
    return [float(value) for value in corrected]


def add_holm(rows: Iterable[dict[str, Any]], *names: str) -> None:
    """Add ``<name>_holm`` beside each p of these names, corrected over all names and rows. Rows may lack a p."""
    tested = [(row, name) for row in rows for name in names if row.get(name) is not None]
    for (row, name), p in zip(tested, holm([row[name] for row, name in tested]), strict=True):
        row[f"{name}_holm"] = p


def _difference_of_means(
    a: Sequence[pa.Table], b: Sequence[pa.Table], metric: str
) -> tuple[npt.NDArray[np.str_], npt.NDArray[np.float64]]:
    """Ids and, per sample, a's mean over seeds minus b's, (n,). Raises DataError as `_paired_difference` does."""
    if len(a) == len(b) == 1:
        return _paired_difference(a[0], b[0], metric)
    first = a[0]
    # Subtract the same first table from every table, so that all are in its order. The first table cancels out.
    ids = _paired_difference(first, first, metric)[0]
    ours = np.mean([_paired_difference(table, first, metric)[1] for table in a], axis=0)
    theirs = np.mean([_paired_difference(table, first, metric)[1] for table in b], axis=0)
    return ids, np.asarray(ours - theirs)


def _compare(
    difference: npt.NDArray[np.float64], user: IntArray, samples: int, confidence: float, seed: int
) -> Comparison:
    users, tail = int(user.max()) + 1, (1.0 - confidence) / 2.0
    low, high = -1.0, 1.0  # the range of a difference of metrics between 0 and 1
    if users > 1:
        means = resampled_means(difference[None], user, samples, np.random.default_rng(seed))
        low, high = map(float, np.quantile(means, [tail, 1.0 - tail]))
    t, p = paired_t(difference, user)
    return Comparison(float(difference.mean()), low, high, t, p, len(difference), users)


def _paired_difference(a: pa.Table, b: pa.Table, metric: str) -> tuple[npt.NDArray[np.str_], npt.NDArray[np.float64]]:
    """Sorted sample ids and the metric's difference a − b: (n,) each."""
    ids_a, ids_b = (np.asarray(ranks["sample_id"].to_pylist(), dtype=str) for ranks in (a, b))
    order_a, order_b = np.argsort(ids_a), np.argsort(ids_b)
    for name, ids in (("first", ids_a[order_a]), ("second", ids_b[order_b])):
        if (ids[1:] == ids[:-1]).any():
            raise DataError(f"the {name} ranks table holds a sample_id twice. Give one row per sample.")
    if not np.array_equal(ids_a[order_a], ids_b[order_b]):
        only_a, only_b = np.setdiff1d(ids_a, ids_b), np.setdiff1d(ids_b, ids_a)
        example = (only_a if len(only_a) else only_b)[0]
        raise DataError(
            f"the two models ranked different samples: {len(only_a)} only in the first, {len(only_b)} "
            f"only in the second (for example {example}). Score both on the same prepared dataset and "
            "split."
        )
    if len(ids_a) == 0:
        raise DataError(
            "both ranks tables are empty, so there is no sample to compare. Give ranks of the same samples."
        )
    return ids_a[order_a], per_sample(a, metric)[order_a] - per_sample(b, metric)[order_b]


def paired_t(difference: npt.NDArray[np.float64], user: IntArray) -> tuple[float, float]:
    """t and its two-sided p, with (users − 1) degrees of freedom. NaN where the spread is 0."""
    if not difference.any():
        return 0.0, 1.0  # the same ranking everywhere: 0/0
    error = standard_error(difference, user)
    # One user, or equal differences for all users except for rounding.
    if np.ptp(difference) == 0 or not error > 1e-12 * np.abs(difference).max():
        return float("nan"), float("nan")
    t = float(difference.mean()) / error
    return t, float(2.0 * stats.t.sf(abs(t), int(user.max())))
