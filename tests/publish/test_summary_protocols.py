"""The table of a run says which task a protocol leaves out, and how negatives were drawn."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from ranked_data import data_of

from gensr_model.config.pipeline import PipelineConfig
from gensr_model.evaluation.metrics import RANKS_SCHEMA, summarize
from tasks.core.stage import StageResult
from tasks.publish.publish import markdown as table
from tasks.publish.summary import summarize_run


def ranked(folder: Path, place: int, tasks: tuple[str, ...]) -> StageResult:
    """An evaluation that puts each of ten positives per task behind ``place`` candidates."""
    rows = [
        {"sample_id": f"{task}-{n}", "task": task, "greater": place, "ties": 0, "candidates": 100}
        for task in tasks
        for n in range(10)
    ]
    folder.mkdir()
    ranks = pa.Table.from_pylist(rows, schema=RANKS_SCHEMA)
    pq.write_table(ranks, folder / "ranks.parquet")
    metrics = {f"{task}/{name}": v for task, row in summarize(ranks).items() for name, v in row.items()}
    return StageResult("evaluate", "k", folder, metrics, 0.0, False)


def test_a_task_without_candidates_is_named_and_not_compared(tmp_path: Path) -> None:
    config = PipelineConfig.model_validate({"prepare": {"protocols": ["bm25"]}, "evaluation": {"protocol": "bm25"}})
    search = {name: ranked(tmp_path / name, place, ("search",)) for name, place in (("gensr", 0), ("bm25", 9))}
    page = table(summarize_run(config, data_of(tmp_path / "prepared", search.values()), [], search, {}))
    assert "Recommendation is left out: bm25 draws no candidates for it." in page
    assert "**Search: 10 test samples, 1 positive among 99 negatives (bm25)**\n" in page
    assert "+0.7109 |" in page  # 1 − 1 / log2(11)


def test_a_table_of_uniform_candidates_has_both_tasks(tmp_path: Path) -> None:
    both = {"gensr": ranked(tmp_path / "gensr", 0, ("recommendation", "search"))}
    page = table(summarize_run(PipelineConfig(), data_of(tmp_path / "prepared", both.values()), [], both, {}))
    assert "left out" not in page
    assert page.count("1 positive among 99 negatives**\n") == 2
