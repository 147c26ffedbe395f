"""Reference rankers: simple rankers that a good model must beat.

All score the same frozen candidates as the models, and they learn only from the events of the training samples. Each
documents what it does without evidence. Ties stay ties: metrics average over them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy import sparse

from gensr_model.config.model import TextConfig
from gensr_model.data.prepared import IntArray, PreparedDataset, Samples, ranked_lists
from gensr_model.errors import ConfigError
from gensr_model.evaluation.metrics import ranks_table
from gensr_model.evaluation.reference_text import (
    Scorer,
    bm25,
    catalogue_pairs,
    entries,
    query_count,
    same_query,
    searched_pairs,
)
from gensr_model.models import cf_tables

FloatArray = npt.NDArray[np.float32]
REFERENCES = ("popularity", "item_knn", "lightgcn", "bm25", "same_query", "query_count", "query_user")
BY_QUERY_ALONE = ("bm25", "same_query", "query_count")  # the user does not change their scores
NEEDS_QUERY = (*BY_QUERY_ALONE, "query_user")  # they cannot rank recommendation and have no rows for it
# Chosen on amazon-scientific's validation split: `python -m benchmarks.references` prints the grid.
HISTORY_WEIGHT = 2.0
_CHUNK = 1_024  # samples scored at once: bounds memory, changes no score


def score_reference(
    name: str, dataset: PreparedDataset, samples: Samples, negatives: IntArray, cf_folder: Path, text: TextConfig
) -> pa.Table:
    """Ranks table (`metrics.RANKS_SCHEMA`) of a reference. A text ranker has rows only for samples with a query.

    Arguments as in `reference_scores`. Raises ConfigError for an unknown name.
    """
    rows = np.flatnonzero(samples.query >= 0) if name in NEEDS_QUERY else np.arange(len(samples))
    samples = samples.take(rows)
    scores = reference_scores(name, dataset, samples, negatives[rows], cf_folder, text)
    return ranks_table(samples.sample_id, samples.task_names, scores, ranked_lists(samples, negatives[rows])[1])


def reference_scores(
    name: str, dataset: PreparedDataset, samples: Samples, negatives: IntArray, cf_folder: Path, text: TextConfig
) -> FloatArray:
    """Scores (N, 1 + C) of N samples with `negatives` (N, C), in the order of `ranked_lists`.

    `cf_folder` is the output folder of LightGCN's pretraining. `text` names the fields of an item's text, the same that
    GenSR reads. Raises ConfigError for an unknown name, or where a text ranker gets a sample without a query.
    """
    scorer = reference_scorer(name, dataset, samples, cf_folder, text)
    lists, _ = ranked_lists(samples, negatives)
    scores = np.empty(lists.shape, np.float32)
    for start in range(0, len(samples), _CHUNK):
        rows = np.arange(start, min(start + _CHUNK, len(samples)))
        scores[rows] = scorer(samples.take(rows), lists[rows])
    return scores


def reference_scorer(
    name: str, dataset: PreparedDataset, samples: Samples, cf_folder: Path, text: TextConfig
) -> Scorer:
    """A function that scores lists for `samples` or for any part of them. Errors are as in `reference_scores`."""
    if name not in REFERENCES:
        raise ConfigError(f"unknown reference ranker {name!r}. Choose one of {', '.join(REFERENCES)}.")
    if name in NEEDS_QUERY and (samples.query < 0).any():
        raise ConfigError(
            f"the reference {name} ranks by query, but some samples have none. Give it search samples only."
        )
    if name == "popularity":
        return popularity(dataset)
    if name == "item_knn":
        return item_knn(dataset)
    if name == "lightgcn":
        return light_gcn(dataset, cf_folder)
    if name == "bm25":
        return bm25(dataset, text, np.unique(samples.query))
    if name == "same_query":
        return same_query(dataset)
    return query_count(dataset) if name == "query_count" else query_user(dataset)


def popularity(dataset: PreparedDataset) -> Scorer:
    """Number of training recommendation events with the item as target. Search events do not count."""
    train = dataset.samples("train")
    counts = np.bincount(train.item[train.task == 0], minlength=dataset.n_items)
    return lambda samples, lists: counts[lists]


def item_knn(dataset: PreparedDataset) -> Scorer:
    """Sum of cosines between a candidate and the user's distinct history items.

    The cosine is between columns of the binary user × item matrix of the training recommendation events. The history is
    everything that the user met before the sample, in either behavior. An item is not its own neighbor: candidates
    never hold an item that the user met, so only a repeated positive could profit, and it would always win. An item
    without training events, or an empty history, scores 0.
    """
    train = dataset.samples("train")
    train = train.take(train.task == 0)
    shape = (dataset.n_users, dataset.n_items)
    met: sparse.csr_array = sparse.csr_array((np.ones(len(train), np.float32), (train.user, train.item)), shape=shape)
    met.data[:] = 1.0  # a repeated event was summed
    norm = np.sqrt(met.sum(axis=0))
    unit = met.copy()
    unit.data /= norm[unit.indices]  # every stored column has an event, so its norm is at least 1
    own = np.asarray((unit * unit).sum(axis=0))

    def score(samples: Samples, lists: IntArray) -> npt.NDArray[Any]:
        history = met_before(dataset, samples)
        # History · unitᵀ · unit, in this order: the item × item matrix is never built.
        similar = sparse.csr_array((history @ unit.T) @ unit)
        row = np.arange(len(lists))
        # Subtract the item's cosine with itself as it was added up: rounding makes it differ from 1.
        return entries(similar, row, lists) - entries(history, row, lists) * own[lists]

    return score


def met_before(dataset: PreparedDataset, samples: Samples) -> sparse.csr_array:
    """(b, I) binary: the items that the user met before the sample, in either behavior."""
    length = samples.history_end - samples.history_start
    row = np.repeat(np.arange(len(samples)), length)
    place = np.arange(len(row)) - np.repeat(np.cumsum(length) - length, length)
    item = dataset.events.item[np.repeat(samples.history_start, length) + place]
    shape = (len(samples), dataset.n_items)
    history = sparse.csr_array((np.ones(len(row), np.float32), (row, item)), shape=shape)
    history.data[:] = 1.0
    return history


def query_user(dataset: PreparedDataset, history_weight: float = HISTORY_WEIGHT) -> Scorer:
    """The query's counts combined with the history: log(1 + known) + ``history_weight`` · item-kNN.

    ``known`` counts the training searches with the query that ended at the candidate (`query_count`), plus one where
    the catalogue lists the query for the candidate (`same_query`). Where ``known`` is 0, only the history decides.
    """
    known, by_history = searched_pairs(dataset) + catalogue_pairs(dataset), item_knn(dataset)

    def score(samples: Samples, lists: IntArray) -> npt.NDArray[Any]:
        asked = np.log1p(entries(known, samples.query, lists))
        return np.asarray(asked + history_weight * by_history(samples, lists))

    return score


def light_gcn(dataset: PreparedDataset, cf_folder: Path) -> Callable[[Samples, IntArray | None], npt.NDArray[Any]]:
    """Dot product of the propagated user and item vectors, for given lists or, with lists None, for all items.

    The vector of a node without an edge is its random start. So an item outside the graph scores −∞, below every item
    inside it and level with the others outside. A user outside the graph scores all items alike.
    """
    cf = cf_tables.load(cf_folder)
    user, item = cf.user.numpy(), cf.item.numpy()
    in_graph = cf.item_has_edges.numpy()
    known_user = np.zeros(dataset.n_users, bool)
    known_user[dataset.graph()[0]] = True

    def score(samples: Samples, lists: IntArray | None) -> npt.NDArray[Any]:
        own = user[samples.user]
        dot = own @ item.T if lists is None else np.einsum("bd,bcd->bc", own, item[lists])
        dot = np.where(in_graph if lists is None else in_graph[lists], dot, -np.inf)
        return np.where(known_user[samples.user][:, None], dot, 0.0)

    return score
