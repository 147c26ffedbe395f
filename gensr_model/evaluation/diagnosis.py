"""Where a model fails: its metrics by kind of user, of target item and of query, from saved per-sample ranks.

Every sample belongs to one segment of each segmentation of its task. The diagnosis needs only ranks tables and their
prepared dataset, and scores nothing again.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gensr_model.config.base import TASKS
from gensr_model.data.prepared import IntArray, PreparedDataset, Samples
from gensr_model.errors import DataError
from gensr_model.evaluation.compare import against_best, holm
from gensr_model.evaluation.metrics import METRICS, of_task, per_sample
from gensr_model.evaluation.resampling import standard_error

FEWEST_USERS = 50  # smallest segment with a t-test, which takes the users' differences as normal
HEAD = 0.2  # the head is this share of the items met in training, the most popular first

# The first segment holds values from the first edge to below the second, and so on. The last segment has no end. Values
# below the first edge have no segment.
HISTORY = (0, 1, 5, 10, 20, 40)
WORDS = (1, 3, 5, 7)
SHARED = (1, 2, 5, 20, 100)
REPEATED = (0, 1, 5, 20)


class Segments(NamedTuple):
    """One segmentation of N samples."""

    name: str
    labels: tuple[str, ...]  # in order
    label: IntArray  # (N,) index into ``labels``, −1 for a sample that it does not apply to


def segmentations(dataset: PreparedDataset, samples: Samples) -> list[Segments]:
    """All segmentations of N samples, by what was known before ranking.

    - history: events of the user before the sample, in both behaviors, whether or not a model reads them all.
    - target: training samples of the target item. Head: the most popular fifth of the items met in training, and ties
      with the last of them. Unseen: never a training target.
    - query words: number of blank-separated words of the query; search only.
    - items of the query: distinct items that events of any split reach by the same query, target included. The number
      shows how ambiguous the query is; search only.
    """
    train = dataset.samples("train")
    popularity = np.bincount(train.item, minlength=dataset.n_items)
    repeated = np.bincount(train.query[train.query >= 0], minlength=max(dataset.n_queries, 1))
    searched = samples.query >= 0
    words = np.array([len(text.split()) for text in dataset.queries] or [0])
    shared = _items_of_queries(dataset)
    return [
        _cut("history", samples.history_end - samples.history_start, HISTORY, "events"),
        _by_popularity(popularity, samples.item),
        _cut("query words", np.where(searched, words[samples.query], -1), WORDS, "words"),
        _cut("items of the query", np.where(searched, shared[samples.query], -1), SHARED, "items"),
        _cut("query in training", np.where(searched, repeated[samples.query], -1), REPEATED, "searches"),
    ]


def diagnose(dataset: PreparedDataset, ranks: Mapping[str, pa.Table]) -> pa.Table:
    """Metrics of every model on every segment.

    Args:
        ranks: ranks of every model (``metrics.RANKS_SCHEMA``) on test samples, in any order.
    Returns:
        A row per model, task, segmentation (``by``) and non-empty segment: the number of ``samples``, the mean of every
        metric, and ``ndcg_at_10_error``, the standard error of that mean by user (null for a single user).
    Raises:
        DataError: a table ranks a sample that the test split does not have.
    """
    every = dataset.samples("test")
    cuts = segmentations(dataset, every)
    parts = [
        part
        for name, table in ranks.items()
        for part in _by_segment(name, table, _places(name, table, every, dataset), every, cuts)
    ]
    return pa.concat_tables(parts) if parts else pa.table({"model": pa.array([], pa.string())})


class Lead(NamedTuple):
    """Our model against the best other model of a segment, by N@10: difference, interval and test by user."""

    task: str
    by: str
    segment: str
    baseline: str
    lead: float
    lead_low: float
    lead_high: float
    lead_p_holm: float  # corrected for all segments of both tasks; NaN where there is no test


def leads(
    dataset: PreparedDataset,
    ranks: Mapping[str, pa.Table],
    ours: str,
    samples: int = 2_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> list[Lead]:
    """Where our model leads and where it does not, with significance, on every segment of ``diagnose``.

    The best other model is chosen on the samples of the comparison. Where it is ahead, p is therefore multiplied by the
    number of other models (Bonferroni) before Holm's correction; the interval is not widened. A segment of fewer than
    ``FEWEST_USERS`` users has no p. A segment without ranks of ours, or without ranks of any other model, is left out.
    Resamples, confidence and seed are those of ``compare.against_best``. Raises as ``against_best`` and ``diagnose``
    do.
    """
    every = dataset.samples("test")
    sample_id = pa.array(every.sample_id, pa.string())
    cuts = segmentations(dataset, every)
    result, p = [], []
    for task in TASKS:
        task_ranks = {name: of_task(table, task) for name, table in ranks.items()}
        places = {name: _places(name, table, every, dataset) for name, table in task_ranks.items()}
        for cut in cuts:
            for label, segment in enumerate(cut.labels):
                rows = {name: np.flatnonzero(cut.label[place] == label) for name, place in places.items()}
                inside = {name: [task_ranks[name].take(pa.array(row))] for name, row in rows.items() if len(row)}
                there = np.flatnonzero(cut.label == label)
                users = pa.table({"sample_id": sample_id.take(pa.array(there)), "user_idx": every.user[there]})
                for verdict in against_best(
                    inside, ours, [task], ["ndcg_at_10"], samples, confidence, seed, users=users
                ):
                    by = verdict.compared
                    chosen_among = len(inside) - 1 if by.mean_difference < 0 else 1
                    p.append(min(1.0, by.p * chosen_among) if by.users >= FEWEST_USERS else float("nan"))
                    result.append(
                        Lead(task, cut.name, segment, verdict.baseline, by.mean_difference, by.low, by.high, p[-1])
                    )
    return [lead._replace(lead_p_holm=value) for lead, value in zip(result, holm(p), strict=True)]


def _places(name: str, ranks: pa.Table, samples: Samples, dataset: PreparedDataset) -> IntArray:
    """(n,) for each row of the ranks, the place of its sample."""
    known = pa.array(samples.sample_id, pa.string())
    place = pc.fill_null(pc.index_in(ranks["sample_id"], value_set=known), -1).to_numpy().astype(np.int64)
    if (place < 0).any():
        example = ranks["sample_id"][int((place < 0).argmax())].as_py()
        raise DataError(
            f"{int((place < 0).sum())} samples ranked by {name!r} (for example {example}) are not in "
            f"{dataset.folder}. Diagnose ranks with the dataset of their samples."
        )
    return place


def _by_segment(model: str, ranks: pa.Table, place: IntArray, samples: Samples, cuts: list[Segments]) -> list[pa.Table]:
    values = np.stack([per_sample(ranks, metric) for metric in METRICS])  # (metrics, n)
    task = samples.task[place]
    parts = []
    for number, name in enumerate(TASKS):
        for cut in cuts:
            rows = np.flatnonzero((task == number) & (cut.label[place] >= 0))
            if len(rows):
                label = cut.label[place[rows]]
                parts.append(_grouped(model, name, cut, label, samples.user[place[rows]], values[:, rows]))
    return parts


def _grouped(
    model: str, task: str, cut: Segments, group: IntArray, user: IntArray, values: npt.NDArray[np.float64]
) -> pa.Table:
    count = np.bincount(group, minlength=len(cut.labels))
    there = np.flatnonzero(count)
    n = count[there]

    def mean(sample_values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.bincount(group, weights=sample_values, minlength=len(cut.labels))[there] / n

    ndcg = values[METRICS.index("ndcg_at_10")]
    error = [standard_error(ndcg[rows], user[rows]) for rows in (group == label for label in there)]
    same = {"model": model, "task": task, "by": cut.name}
    return pa.table(
        {name: [value] * len(there) for name, value in same.items()}
        | {"segment": [cut.labels[label] for label in there], "samples": n}
        | {metric: mean(row) for metric, row in zip(METRICS, values, strict=True)}
        | {"ndcg_at_10_error": pa.array(error, pa.float64(), from_pandas=True)}
    )


def _cut(name: str, value: IntArray, edges: tuple[int, ...], unit: str) -> Segments:
    """The segments of values between ``edges``."""
    labels = [str(low) if high == low + 1 else f"{low} to {high - 1}" for low, high in pairwise(edges)]
    labels.append(f"{edges[-1]} or more")
    every = tuple(f"{label} {unit.removesuffix('s') if label == '1' else unit}" for label in labels)
    return Segments(name, every, np.searchsorted(edges, value, side="right") - 1)


def _by_popularity(popularity: IntArray, target: IntArray) -> Segments:
    met = np.sort(popularity[popularity > 0])[::-1]
    least = met[max(0, int(np.ceil(HEAD * len(met))) - 1)] if len(met) else 1
    count = popularity[target]
    label = np.where(count == 0, 2, np.where(count >= least, 0, 1))
    return Segments("target", ("head", "tail", "unseen in training"), label.astype(np.int64))


def _items_of_queries(dataset: PreparedDataset) -> IntArray:
    """(Q,) number of distinct items reached by each query. A single 0 where there is no query."""
    events = dataset.events
    asked = events.query >= 0
    pairs = np.unique(events.query[asked] * dataset.n_items + events.item[asked])
    return np.bincount(pairs // dataset.n_items, minlength=max(dataset.n_queries, 1))
