import itertools

import numpy as np
import pyarrow as pa
import pytest

from gensr_model.errors import DataError
from gensr_model.evaluation.metrics import METRICS, RANKS_SCHEMA, per_sample, rank_counts, ranks_table, summarize


def table(scores: np.ndarray, task: str = "search") -> pa.Table:
    return ranks_table([f"s{n}" for n in range(len(scores))], [task] * len(scores), scores)


def value_at(metric: str, rank: int) -> float:
    """The textbook definition of each metric for one relevant item at `rank`."""
    if metric == "mrr":
        return 1 / rank
    kind, cutoff = metric.split("_at_")
    if rank > int(cutoff):
        return 0.0
    return 1.0 if kind == "recall" else 1 / np.log2(rank + 1)


def test_all_scores_equal_gives_what_chance_gives() -> None:
    ranks = table(np.zeros((3, 100)))
    assert per_sample(ranks, "recall_at_5") == pytest.approx([0.05] * 3)
    assert round(per_sample(ranks, "ndcg_at_5")[0], 4) == 0.0295
    assert round(per_sample(ranks, "mrr")[0], 4) == 0.0519


def test_ties_average_over_every_order_of_the_tied_items() -> None:
    # One above the positive, three level with it, two below: go through all orders of the list.
    scores = np.array([[0.5, 0.9, 0.5, 0.5, 0.5, 0.1, 0.2]])
    places: list[int] = []
    for order in itertools.permutations(range(7)):
        shuffled = sorted(order, key=lambda item: -scores[0, item])  # stable: ties keep the order of this permutation
        places.append(shuffled.index(0) + 1)
    assert set(places) == {2, 3, 4, 5}
    ranks = table(scores)
    for metric in METRICS:
        expected = np.mean([value_at(metric, place) for place in places])
        assert per_sample(ranks, metric)[0] == pytest.approx(expected), metric


def test_against_brute_force_on_many_tied_samples() -> None:
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 12, size=(60, 40)).astype(np.float32)
    ranks = table(scores)
    for metric in METRICS:
        for row, got in zip(scores, per_sample(ranks, metric), strict=True):
            first = 1 + int((row[1:] > row[0]).sum())
            last = first + int((row[1:] == row[0]).sum())
            expected = np.mean([value_at(metric, rank) for rank in range(first, last + 1)])
            assert got == pytest.approx(expected), metric


def test_places_without_ties() -> None:
    scores = np.array([[3.0, 1, 2], [2.0, 1, 3], [1.0, 2, 3]])
    ranks = table(scores)
    assert ranks["greater"].to_pylist() == [0, 1, 2]
    assert ranks["ties"].to_pylist() == [0, 0, 0]
    assert ranks["candidates"].to_pylist() == [3, 3, 3]
    assert ranks.schema == RANKS_SCHEMA
    assert per_sample(ranks, "mrr") == pytest.approx([1, 1 / 2, 1 / 3])
    assert per_sample(ranks, "recall_at_1") == pytest.approx([1, 0, 0])


def test_infinite_scores_are_ordered_and_nan_is_an_error() -> None:
    counts = rank_counts(np.array([[-np.inf, 0.0, -np.inf]]))
    assert (counts.greater[0], counts.ties[0]) == (1, 1)
    with pytest.raises(DataError, match=r"1 of 2 samples.*row 1"):
        rank_counts(np.array([[1.0, 0.0], [np.nan, 0.0]]))


def test_wrong_shapes_and_names_are_errors() -> None:
    with pytest.raises(DataError, match="have the shape"):
        rank_counts(np.zeros(5))
    with pytest.raises(DataError, match="do not match"):
        ranks_table(["a"], ["search", "search"], np.zeros((2, 3)))
    with pytest.raises(ValueError, match="unknown metric"):
        per_sample(table(np.zeros((1, 3))), "ndcg_at_7")


def test_summary_per_task() -> None:
    both = pa.concat_tables(
        [table(np.array([[1.0, 0.0]])), table(np.array([[0.0, 1.0], [1.0, 0.0]]), task="recommendation")]
    )
    summary = summarize(both)
    assert set(summary) == {"recommendation", "search"}
    assert set(summary["search"]) == {*METRICS, "samples"}
    assert summary["search"]["recall_at_1"] == 1.0
    assert summary["recommendation"]["recall_at_1"] == 0.5
    assert summary["recommendation"]["samples"] == 2
    assert summarize(both.slice(0, 0)) == {}
