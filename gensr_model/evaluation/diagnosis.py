"""Where a model fails: its metrics by kind of user, of target item and of query, from saved per-sample ranks.

Every sample belongs to one segment of each segmentation that applies to its task. Nothing is scored again: ranks tables
and the prepared dataset that they were made on are enough.
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

FEWEST_USERS = 50  # whose differences are taken as normal: few have few values, and any test of them is too easy
HEAD = 0.2  # share of the items met in training, the most popular first, that are the head

# Values from the first edge to below the second are the first segment, and so on. The last has no end; below the first
# edge there is no segment.
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
    """How N samples fall apart, by what was known before any of them was ranked.

    - history: events of the user before the sample, both behaviors, however many of them a model reads.
    - target: training samples of the target item. Head: of the items met in training the fifth that is met most, and
      those level with its last. Unseen: never a training target.
    - query words: words of the query, between blanks; search only.
    - items of the query: distinct items that any split's events reach by the same query, the target among them: how
      ambiguous the query is; search only.
    - query in training: training's searches with the same query; search only.
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
        ranks: of every model its ranks (``metrics.RANKS_SCHEMA``) of test samples, in any order.
    Returns:
        A row per model, task, segmentation (``by``) and segment that has samples: their number ``samples``, the mean of
        every metric, and ``ndcg_at_10_error``, the standard error of that mean by user (null for a single one).
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
    """Ours against the best other model of a segment, by N@10: the difference, its interval and test by user."""

    task: str
    by: str
    segment: str
    baseline: str
    lead: float
    lead_low: float
    lead_high: float
    lead_p_holm: float  # corrected for all segments of both tasks; NaN where no test holds


def leads(
    dataset: PreparedDataset,
    ranks: Mapping[str, pa.Table],
    ours: str,
    samples: int = 2_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> list[Lead]:
    """Where ours leads, where not, and with what significance: every segment of ``diagnose``.

    The baseline is chosen on the samples that it is compared on, so where it is ahead p is multiplied by the number of
    others (Bonferroni) before Holm's correction; the interval is not widened. Of a segment of fewer than
    ``FEWEST_USERS`` there is no p. A segment is left out where ours or every other has no ranks. Resamples, confidence
    and seed are those of ``compare.against_best``; raises as it does, and as ``diagnose``.
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
    """(n,) of each row of the ranks the place of its sample."""
    known = pa.array(samples.sample_id, pa.string())
    place = pc.fill_null(pc.index_in(ranks["sample_id"], value_set=known), -1).to_numpy().astype(np.int64)
    if (place < 0).any():
        example = ranks["sample_id"][int((place < 0).argmax())].as_py()
        raise DataError(
            f"{int((place < 0).sum())} samples ranked by {name!r} (for example {example}) are not in {dataset.folder}: "
            "diagnose ranks with the dataset that they were made on"
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
    """Segments of values by ``edges``."""
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
    """(Q,) distinct items reached by each query; a single 0 where there is no query."""
    events = dataset.events
    asked = events.query >= 0
    pairs = np.unique(events.query[asked] * dataset.n_items + events.item[asked])
    return np.bincount(pairs // dataset.n_items, minlength=max(dataset.n_queries, 1))
