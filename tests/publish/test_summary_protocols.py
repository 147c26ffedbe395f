"""The table of a run says which task a protocol leaves out, and how negatives were drawn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from ranked_data import data_of

from gensr_model.config.pipeline import PipelineConfig
from gensr_model.evaluation.metrics import RANKS_SCHEMA, summarize
from gensr_model.reporting import first_screen, run_sections
from gensr_model.reporting.run_facts import RunFacts
from tasks.core.stage import StageResult
from tasks.publish.publish import markdown as table
from tasks.publish.summary import summarize_run


def ranked(folder: Path, place: int, tasks: tuple[str, ...], lengths: Sequence[int] = (100,)) -> StageResult:
    """An evaluation that puts each of ten positives per task behind ``place`` candidates of lists of these lengths."""
    rows = [
        {"sample_id": f"{task}-{n}", "task": task, "greater": place, "ties": 0, "candidates": lengths[n % len(lengths)]}
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


def test_lists_of_what_was_shown_have_a_median_length_and_samples_without_are_counted(tmp_path: Path) -> None:
    tree = {"format": "logs", "prepare": {"protocols": ["shown"]}, "evaluation": {"protocol": "shown"}}
    config = PipelineConfig.model_validate(tree)
    ranks = {"gensr": ranked(tmp_path / "gensr", 1, ("search",), (3, 8, 21))}
    summary = summarize_run(config, data_of(tmp_path / "prepared", ranks.values()), [], ranks, {})
    assert summary["results"]["search"]["gensr"]["median_candidates"] == 8.0
    page = table(summary)
    assert "**Search: 10 test samples, 1 positive among the other items that were shown, 7 in the median**\n" in page
    assert "99" not in page.partition("Stages")[0]
    counts = {"test": {"search": {"samples": 10, "without_impressions": 1_234, "median_negatives": 7.0}}}
    facts = RunFacts(summary, manifest={"counts": {"shown": counts}})
    section = run_sections.results(facts)
    assert section is not None
    note = "1,234 of 1,244 test samples of search are left out: nothing is known to have been shown beside the item."
    assert note in [block.value for block in section.blocks]
    assert "A random order of the median list, 8 items, does so in 100%." in first_screen.answers(facts)[0].sentences
