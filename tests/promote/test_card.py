"""The model card: its figures are those of the ranks, and it names where the model is weak."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gensr_model.config.base import TASKS
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.data.prepared import PreparedDataset
from gensr_model.evaluation.evaluate import RANKS
from gensr_model.evaluation.metrics import RankCounts, counts_table, of_task, per_sample, summarize
from gensr_model.evaluation.resampling import standard_error
from tasks.core.stage import StageResult
from tasks.promote.card import describe, renumbered, titled

Tiny = Callable[..., PipelineConfig]


@pytest.fixture(scope="module")
def prepared(tiny_data: Path) -> StageResult:
    (record,) = (tiny_data / "store" / "prepare").glob("*/stage.json")
    return StageResult("prepare", "k", record.parent, {}, 0.0, True)


@pytest.fixture
def ranks(prepared: StageResult, tmp_path: Path) -> StageResult:
    """Test ranks of a model that fails where the user has a short history."""
    samples = PreparedDataset.open(prepared.path).samples("test")
    short = samples.history_end - samples.history_start < 20
    counts = RankCounts(np.where(short, 18, np.arange(len(short)) % 6).astype(np.int32), np.zeros(len(short), np.int32))
    tasks = np.asarray(TASKS)[samples.task]
    table = counts_table(samples.sample_id, tasks, counts, np.full(len(short), 21))
    pq.write_table(table, tmp_path / RANKS)
    return StageResult("evaluate", "r", tmp_path, {}, 0.0, True)


def cells(text: str, first: str) -> list[list[str]]:
    """The cells of a card's rows that begin with a task."""
    section = text.partition(f"## {first}\n")[2].partition("\n## ")[0]
    return [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith(("| rec", "| sea"))]


def test_the_metrics_are_those_of_the_ranks_with_intervals_over_users(
    prepared: StageResult, ranks: StageResult, tiny: Tiny
) -> None:
    text = describe(tiny(), prepared, ranks)
    table = pq.read_table(ranks.path / RANKS)
    expected, users = summarize(table), pq.read_table(prepared.path / "samples_test.parquet")
    rows = cells(text, "Metrics")
    assert [row[0] for row in rows] == list(TASKS)
    for task, samples, *figures in rows:
        assert int(samples) == expected[task]["samples"]
        for metric, figure in zip(("ndcg_at_10", "recall_at_10", "mrr"), figures, strict=True):
            mean, low, high = map(float, re.fullmatch(r"(\S+) \((\S+) to (\S+)\)", figure).groups())  # type: ignore[union-attr]
            assert mean == pytest.approx(expected[task][metric], abs=5e-5)
            mine = of_task(table, task)
            user = users["user_idx"].take(pa.compute.index_in(mine["sample_id"], users["sample_id"].combine_chunks()))
            error = standard_error(per_sample(mine, metric), user.to_numpy())
            assert (mean - low, high - mean) == (pytest.approx(1.96 * error, abs=0.01),) * 2
    assert "Each positive is ranked among 21 items" in text


def test_a_weak_segment_is_named_and_a_number_of_its_own_calls_each_version(
    prepared: StageResult, ranks: StageResult, tiny: Tiny
) -> None:
    body = describe(tiny(), prepared, ranks)
    named = {(row[0], row[1], row[2]) for row in cells(body, "Where it is weak")}
    assert ("recommendation", "history", "10 to 19 events") in named
    assert not any("20 to 39" in segment for _, _, segment in named)
    first = titled(body, "gensr-x", "3")
    assert first.startswith("# gensr-x, version 3\n")
    assert 'load_model("models:/gensr-x/3")' in first
    second = renumbered(first, "gensr-x", "3", "12", "The GenSR of version 3.")
    assert second.startswith("# gensr-x, version 12\n\nThe GenSR of version 3. The metrics are those of version 3.\n")
    assert 'load_model("models:/gensr-x/12")' in second
    assert second.count("## Metrics") == 1
