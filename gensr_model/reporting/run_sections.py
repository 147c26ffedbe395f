"""The sections of a run, for the report and for its Markdown table."""

from __future__ import annotations

from typing import Any

from gensr_model.config.base import SHOWN, TASKS
from gensr_model.reporting import data_check, mechanisms, paper, run_tables, semantic_ids, study_sections
from gensr_model.reporting.run_facts import RunFacts
from gensr_model.reporting.sections import Block, Section, figures, heading, note, table, text


def report_sections(facts: RunFacts) -> list[Section]:
    """All sections of results, without parts that the run does not have."""
    made = (data_check.section(facts.check), results(facts), _segments(facts), *study_sections.sections(facts),
            _training(facts), mechanisms.section(facts), semantic_ids.section(facts), _speed(facts))  # fmt: skip
    return [section for section in made if section is not None]


def summary_sections(summary: dict[str, Any]) -> tuple[str, list[Section]]:
    """A title and the sections from ``summary.json`` alone, with the duration of every stage at the end."""
    facts = RunFacts.from_summary(summary)
    title = f"{summary['dataset']} ({summary['format']}, {summary['source']}, preset {summary['preset']})"
    return title, [*report_sections(facts), Section("stages", "Stages", [table(run_tables.stages(facts))])]


def results(facts: RunFacts) -> Section | None:
    """Every model of the run on each ranked task."""
    summary = facts.summary
    ranked = [task for task in TASKS if summary["results"].get(task)]
    if not ranked:
        return None
    shown = summary["config"]["evaluation"]["protocol"] == SHOWN
    among = "items that were shown" if shown else f"{summary['negatives']} frozen negatives"
    blocks: list[Block] = [
        text(
            f"Every model ranks the same positive among the same {among}. R@k is the share of positives among the "
            "first k, N@k is NDCG, MRR the mean of one over the place. Ties count as the mean over all orders. The "
            "best of a column is bold, the second underlined."
        )
    ]
    blocks += map(note, facts.left_out())
    for task in ranked:
        ours = summary["results"][task].get("gensr", {})
        blocks += [heading(task.capitalize()), table(run_tables.results(facts, summary, task, "results"))]
        blocks += [figures(each) for each in run_tables.differences(facts, summary, task)]
        blocks += map(table, run_tables.papers_rows(facts, paper.RANKING, task, ours, "paper"))
    blocks += paper.not_shown(facts, "its Tables 2 and 3 are not comparable with these, so they are not shown")
    return Section("results", "Results", blocks)


def _segments(facts: RunFacts) -> Section | None:
    tables = run_tables.segments(facts, facts.segments)
    return Section("segments", "Segments", [table(each) for each in tables]) if tables else None


def _training(facts: RunFacts) -> Section | None:
    if not facts.training:
        return None
    drawn = run_tables.learning(facts)
    blocks = [table(run_tables.training(facts))]
    if drawn:
        blocks += [
            figures(*drawn),
            note(
                "A point of a loss curve is the mean over the steps since the point before. MLflow has the same curves "
                "step by step, with learning rate, throughput and the machine's load."
            ),
        ]
    else:
        blocks.append(note("MLflow has the curves of each model, step by step."))
    return Section("training", "Training", blocks)


def _speed(facts: RunFacts) -> Section | None:
    # A summary alone does not have what the stages measured.
    measured = facts.stages and all("metrics" in stage for stage in facts.stages)
    made = run_tables.speed(facts) if measured else None
    return Section("speed", "Speed and memory", [table(made)]) if made else None
