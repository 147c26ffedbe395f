"""Ranking metrics from the positive's place among its candidates, averaged exactly over ties.

A sample is reduced to two counts: g candidates score above the positive, and k score the same. Its rank is then uniform
over g+1 … g+k+1. A metric is its mean over those ranks, not the metric at the mean rank, so a model that scores
everything alike gets what chance gives. The counts are saved, so any two models can be compared sample by sample later.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gensr_model.errors import DataError, NaNScoreError

RECALL_CUTOFFS = (1, 5, 10, 20)
NDCG_CUTOFFS = (5, 10, 20)
METRICS = (*(f"recall_at_{k}" for k in RECALL_CUTOFFS), *(f"ndcg_at_{k}" for k in NDCG_CUTOFFS), "mrr")
RANKS_SCHEMA = pa.schema(
    [
        ("sample_id", pa.string()),
        ("task", pa.string()),
        ("greater", pa.int32()),  # g: candidates above the positive
        ("ties", pa.int32()),  # k: other candidates level with it
        ("candidates", pa.int32()),  # length of the list, the positive included
    ]
)


class RankCounts(NamedTuple):
    """Counts per positive, (N,) int32: candidates above it, and candidates level with it."""

    greater: npt.NDArray[np.int32]
    ties: npt.NDArray[np.int32]


def rank_counts(scores: npt.NDArray[np.floating], lengths: npt.NDArray[np.integer] | None = None) -> RankCounts:
    """Counts (g, k) for every row of `scores` (N, 1+C), whose column 0 is the positive.

    Of a row, only the first `lengths` (N,) columns count; all where lengths are left out.

    Raises NaNScoreError for a NaN score: every comparison with NaN is false, so it would count as rank 1.
    """
    if scores.ndim != 2 or scores.shape[1] < 2:
        raise DataError(f"scores have the shape {scores.shape}. Give (samples, 1 + candidates).")
    bad = np.isnan(scores).any(axis=1)
    if bad.any():
        raise NaNScoreError(
            f"{int(bad.sum())} of {len(scores)} samples have a NaN score (first: row "
            f"{int(bad.argmax())}). The model that scored them has diverged or read a damaged file."
        )
    positive, others = scores[:, :1], scores[:, 1:]
    above, level = others > positive, others == positive
    if lengths is not None:
        listed = np.arange(1, scores.shape[1]) < lengths[:, None]
        above, level = above & listed, level & listed
    return RankCounts(greater=above.sum(axis=1).astype(np.int32), ties=level.sum(axis=1).astype(np.int32))


def ranks_table(
    sample_id: npt.ArrayLike | pa.Array,
    task: npt.ArrayLike | pa.Array,
    scores: npt.NDArray[np.floating],
    lengths: npt.NDArray[np.integer] | None = None,
) -> pa.Table:
    """The table of `RANKS_SCHEMA` for `scores` (N, 1+C) with the positive in column 0.

    `sample_id` and `task` are (N,) strings in the same order, and `lengths` is as for `rank_counts`. Raises DataError
    for NaN or unequal lengths.
    """
    counts = rank_counts(scores, lengths)
    return counts_table(sample_id, task, counts, np.full(len(scores), scores.shape[1]) if lengths is None else lengths)


def counts_table(
    sample_id: npt.ArrayLike | pa.Array,
    task: npt.ArrayLike | pa.Array,
    counts: RankCounts,
    candidates: npt.NDArray[np.integer],
) -> pa.Table:
    """The table of `RANKS_SCHEMA` from counts and the lengths (N,) of the ranked lists."""
    ids, tasks = (pa.array(np.asarray(column).tolist(), pa.string()) for column in (sample_id, task))
    if not len(ids) == len(tasks) == len(candidates):
        raise DataError(
            f"{len(ids)} sample ids, {len(tasks)} tasks and {len(candidates)} score rows do not match. "
            "Give one of each per sample."
        )
    length = pa.array(candidates.astype(np.int32))
    return pa.table([ids, tasks, counts.greater, counts.ties, length], schema=RANKS_SCHEMA)


def gain_by_rank(metric: str, ranks: int) -> npt.NDArray[np.float64]:
    """(ranks,) the metric's value at ranks 1 … `ranks`, with one relevant item.

    Raises ValueError for an unknown metric.
    """
    if metric not in METRICS:
        raise ValueError(f"unknown metric {metric!r}. Choose one of {', '.join(METRICS)}.")
    rank = np.arange(1, ranks + 1, dtype=np.float64)
    if metric == "mrr":
        return 1.0 / rank
    kind, cutoff = metric.split("_at_")
    value = np.ones(ranks) if kind == "recall" else 1.0 / np.log2(rank + 1.0)  # the ideal DCG is 1
    return np.where(rank <= int(cutoff), value, 0.0)


def per_sample(ranks: pa.Table, metric: str) -> npt.NDArray[np.float64]:
    """(N,) the metric of every row of a ranks table: its mean over ranks g+1 … g+k+1.

    With S[r] the sum of the metric over ranks 1 … r this is (S[g+k+1] − S[g]) / (k+1).
    """
    greater = ranks["greater"].to_numpy().astype(np.int64)
    last = greater + ranks["ties"].to_numpy() + 1
    deepest = int(last.max()) if len(last) else 1
    total = np.concatenate(([0.0], np.cumsum(gain_by_rank(metric, deepest))))  # (deepest + 1,)
    return (total[last] - total[greater]) / (last - greater)


def of_task(ranks: pa.Table, task: str) -> pa.Table:
    """The rows of one task."""
    return ranks.filter(pc.equal(ranks["task"], task))


def summarize(ranks: pa.Table) -> dict[str, dict[str, float]]:
    """{task: {metric: mean over the task's samples, ..., "samples": count}} for the tasks that occur.

    Where lists differ in length, "median_candidates" is the median length, the positive included.
    """
    summary: dict[str, dict[str, float]] = {}
    for task in sorted(pc.unique(ranks["task"]).to_pylist()):
        rows = of_task(ranks, task)
        summary[task] = {metric: float(per_sample(rows, metric).mean()) for metric in METRICS}
        summary[task]["samples"] = float(rows.num_rows)
        lengths = rows["candidates"].to_numpy()
        if len(lengths) and lengths.min() < lengths.max():
            summary[task]["median_candidates"] = float(np.median(lengths))
    return summary
