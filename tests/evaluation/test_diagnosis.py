"""Segments of samples, and metrics on them, against plain loops over the small dataset."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from small_dataset import write_dataset

from gensr_model.data.prepared import PreparedDataset, Samples
from gensr_model.errors import DataError
from gensr_model.evaluation import diagnosis
from gensr_model.evaluation.compare import holm, paired_bootstrap
from gensr_model.evaluation.diagnosis import (
    HISTORY,
    Lead,
    Segments,
    _by_popularity,
    _cut,
    diagnose,
    leads,
    segmentations,
)
from gensr_model.evaluation.metrics import METRICS, per_sample, ranks_table


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    return write_dataset(tmp_path_factory.mktemp("diagnosis") / "prepared")


@pytest.fixture(scope="module")
def ranks(dataset: PreparedDataset) -> pa.Table:
    """Random ranks of the test samples, in an order of their own."""
    samples, rng = dataset.samples("test"), np.random.default_rng(0)
    order = rng.permutation(len(samples))
    scores = rng.integers(6, size=(len(samples), 10)).astype(float)
    return ranks_table(samples.sample_id[order], samples.task_names[order], scores)


REPEATED_NAMES = [(20, "20 or more searches"), (5, "5 to 19 searches"), (1, "1 to 4 searches"), (0, "0 searches")]


@lru_cache(maxsize=2)
def read(folder: Path) -> tuple[Samples, list[int]]:
    """Test samples, and the targets of training."""
    dataset = PreparedDataset.open(folder)
    return dataset.samples("test"), dataset.samples("train").item.tolist()


def expected_segment(dataset: PreparedDataset, row: int, by: str) -> str | None:
    """The segment of a test sample, worked out for it alone."""
    samples, train = read(dataset.folder)
    if by == "history":
        length = int(samples.history_end[row] - samples.history_start[row])
        bounds = [(0, 0), (1, 4), (5, 9), (10, 19), (20, 39)]
        low, high = next((low, high) for low, high in bounds if low <= length <= high)
        return f"{low} to {high} events" if low < high else f"{low} events"
    if by == "target":
        counts = sorted((train.count(item) for item in set(train)), reverse=True)
        own = train.count(int(samples.item[row]))
        return "unseen in training" if own == 0 else "head" if own >= counts[math.ceil(len(counts) / 5) - 1] else "tail"
    if samples.query[row] < 0:
        return None
    if by == "query words":
        assert len(dataset.queries[samples.query[row]].split()) == 1
        return "1 to 2 words"
    if by == "query in training":
        again = dataset.samples("train").query.tolist().count(samples.query[row])
        return next(name for least, name in REPEATED_NAMES if again >= least)
    events = dataset.events
    items = {int(i) for i, q in zip(events.item, events.query, strict=True) if q == samples.query[row]}
    assert 5 <= len(items) < 20
    return "5 to 19 items"


def test_every_sample_is_in_the_segment_that_it_belongs_to(dataset: PreparedDataset) -> None:
    samples = dataset.samples("test")
    cuts = segmentations(dataset, samples)
    names = ["history", "target", "query words", "items of the query", "query in training"]
    assert [cut.name for cut in cuts] == names
    for cut in cuts:
        result = [cut.labels[place] if place >= 0 else None for place in cut.label]
        assert result == [expected_segment(dataset, row, cut.name) for row in range(len(samples))]
    assert {cuts[1].labels[place] for place in cuts[1].label} >= {"head", "tail"}


def test_edges_belong_to_the_segment_that_begins_there() -> None:
    result = _cut("history", np.array([0, 1, 4, 5, 19, 20, 400, -1]), HISTORY, "events")
    assert [result.labels[place] if place >= 0 else None for place in result.label] == [
        "0 events", "1 to 4 events", "1 to 4 events", "5 to 9 events", "10 to 19 events", "20 to 39 events",
        "40 or more events", None
    ]  # fmt: skip


def test_the_head_is_a_fifth_of_the_items_met_and_those_level_with_its_last() -> None:
    """Of ten items met, two are a fifth; the second is met 7 times, as the third is."""
    popularity = np.array([1, 9, 7, 0, 7, 1, 1, 1, 1, 6, 1, 0])
    result = _by_popularity(popularity, np.arange(len(popularity)))
    assert [result.labels[place] for place in result.label].count("head") == 3
    assert [result.labels[result.label[item]] for item in (1, 2, 4, 9, 0, 3)] == [
        *["head"] * 3, "tail", "tail", "unseen in training"
    ]  # fmt: skip
    nothing = _by_popularity(np.zeros(3, np.int64), np.array([1]))
    assert nothing.labels[nothing.label[0]] == "unseen in training"


def test_metrics_are_the_means_over_a_segments_samples(dataset: PreparedDataset, ranks: pa.Table) -> None:
    searched = ranks.filter(pc.equal(ranks["task"], "search"))
    result = diagnose(dataset, {"gensr": ranks, "bm25": searched})
    row_of = {name: row for row, name in enumerate(dataset.samples("test").sample_id)}
    for row in result.to_pylist():
        table = {"gensr": ranks, "bm25": searched}[row["model"]]
        table = table.filter(pc.equal(table["task"], row["task"]))
        ids = table["sample_id"].to_pylist()
        inside = [expected_segment(dataset, row_of[name], row["by"]) == row["segment"] for name in ids]
        assert sum(inside) == row["samples"] > 0
        for metric in METRICS:
            assert row[metric] == pytest.approx(per_sample(table, metric)[inside].mean()), row
        spread = per_sample(table, "ndcg_at_10")[inside]
        expected = spread.std(ddof=1) / math.sqrt(len(spread)) if len(spread) > 1 else None
        assert row["ndcg_at_10_error"] == (expected and pytest.approx(expected))
    assert {(row["model"], row["task"]) for row in result.to_pylist()} == {
        ("gensr", "recommendation"), ("gensr", "search"), ("bm25", "search")
    }  # fmt: skip
    recommended = result.filter(pc.equal(result["task"], "recommendation"))
    assert set(recommended["by"].to_pylist()) == {"history", "target"}


def test_the_error_of_a_segment_is_by_user(
    dataset: PreparedDataset, ranks: pa.Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if all samples were of four users: the plain sum of squares of what each is above or below the mean."""
    samples = dataset.samples("test")
    whose = dict(zip(samples.sample_id, samples.user % 4, strict=True))
    monkeypatch.setattr(PreparedDataset, "samples", lambda *_: replace(samples, user=samples.user % 4))
    monkeypatch.setattr(diagnosis, "segmentations", lambda *_: [Segments("all", ("all",), samples.user * 0)])
    result = diagnose(dataset, {"gensr": ranks}).to_pylist()
    assert [row["task"] for row in result] == ["recommendation", "search"]
    for row in result:
        table = ranks.filter(pc.equal(ranks["task"], row["task"]))
        values, ids = per_sample(table, "ndcg_at_10"), table["sample_id"].to_pylist()
        above = [
            sum(v - values.mean() for v, i in zip(values, ids, strict=True) if whose[i] == user) for user in range(4)
        ]
        expected = math.sqrt(4 / 3 * sum(total**2 for total in above)) / len(values)
        assert row["ndcg_at_10_error"] == pytest.approx(expected)


def test_ranks_of_other_data_are_refused(dataset: PreparedDataset, ranks: pa.Table) -> None:
    foreign = ranks.set_column(0, "sample_id", pa.array([f"x{n}" for n in range(len(ranks))]))
    with pytest.raises(DataError, match=r"140 samples ranked by 'gensr' \(for example x0\) are not in"):
        diagnose(dataset, {"gensr": foreign})


def test_ours_is_compared_with_the_best_other_of_every_segment(
    dataset: PreparedDataset, ranks: pa.Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diagnosis, "FEWEST_USERS", 20)
    samples, rng = dataset.samples("test"), np.random.default_rng(1)
    scores = rng.integers(5, size=(2, len(samples), 10)).astype(float)
    scores[:, samples.task == 0, 0] -= 3  # in recommendation ours is ahead
    others = {
        name: ranks_table(samples.sample_id, samples.task_names, of) for name, of in zip("ab", scores, strict=True)
    }
    searched = ranks.filter(pc.equal(ranks["task"], "search"))
    every = {"gensr": ranks, **others, "bm25": searched}
    row_of = {name: row for row, name in enumerate(samples.sample_id)}
    means = {
        (row["model"], row["task"], row["by"], row["segment"]): row["ndcg_at_10"]
        for row in diagnose(dataset, every).to_pylist()
    }
    result = leads(dataset, every, "gensr", samples=300, confidence=0.9, seed=2)
    assert {lead[:3] for lead in result} == {key[1:] for key in means}
    p = []
    for lead in result:
        theirs = {model: mean for (model, *of), mean in means.items() if tuple(of) == lead[:3] and model != "gensr"}
        best = max(theirs.values())
        assert theirs[lead.baseline] == best
        assert lead.lead == pytest.approx(means["gensr", *lead[:3]] - best)

        def inside(table: pa.Table, lead: Lead = lead) -> pa.Table:
            names = zip(table["sample_id"].to_pylist(), table["task"].to_pylist(), strict=True)
            return table.filter(pa.array([
                task == lead.task and expected_segment(dataset, row_of[name], lead.by) == lead.segment
                for name, task in names
            ]))  # fmt: skip

        users = pa.table({"sample_id": pa.array(samples.sample_id, pa.string()), "user_idx": samples.user})
        compared = paired_bootstrap(
            inside(ranks), inside(every[lead.baseline]), "ndcg_at_10", 300, 0.9, seed=2, users=users
        )
        assert (lead.lead_low, lead.lead_high) == (compared.low, compared.high)
        chosen_among = len(theirs) if lead.lead < 0 else 1
        p.append(min(1, compared.p * chosen_among) if compared.users >= 20 else math.nan)
    assert [lead.lead_p_holm for lead in result] == pytest.approx(holm(p), nan_ok=True)
    assert len({lead.baseline for lead in result}) > 1
    assert 0 < np.isnan(p).sum() < len(p)
    assert {lead.lead < 0 for lead in result if not math.isnan(lead.lead_p_holm)} == {True, False}


def test_nobody_leads_alone(dataset: PreparedDataset, ranks: pa.Table) -> None:
    assert leads(dataset, {"gensr": ranks}, "gensr") == []
    assert leads(dataset, {"bm25": ranks}, "gensr") == []
