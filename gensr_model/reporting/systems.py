"""Tables 2 and 3 in a report: every system on the same candidates."""

from __future__ import annotations

from typing import Any

from gensr_model.config.base import TASKS
from gensr_model.evaluation.comparison_table import seeds_text
from gensr_model.reporting import paper, run_tables
from gensr_model.reporting.charts import Figure, Interval, interval_chart
from gensr_model.reporting.findings import VERDICTS, verdict
from gensr_model.reporting.run_facts import RERANK, RunFacts
from gensr_model.reporting.sections import Section, figures, heading, note, table, text
from gensr_model.reporting.tables import (
    Column,
    Table,
    count,
    interval,
    mark_best,
    memory,
    number,
    p_value,
)
from gensr_model.reporting.tables import text as words

_SHORT = {name: run_tables.METRICS[name] for name in paper.METRICS}


def comparison(facts: RunFacts) -> Section | None:
    """Every system on the same candidates, the tests of GenSR against the best baseline, and what failed."""
    study = facts.studies.get(RERANK)
    if study is None:
        return None
    config = facts.summary["config"]
    trained = (name for name, system in study["systems"].items() if system["group"] != "reference")
    seeds = seeds_text(row["seeds"] for name in trained for row in study["results"] if row["system"] == name)
    blocks = [
        text(
            f"Every system ranks the same positive among the same {config['prepare']['negatives']} frozen negatives "
            f"({config['evaluation']['protocol']}); {seeds}. Best first by N@10; the best of a column is bold, the "
            "second underlined."
        )
    ]
    papers = paper.is_papers_data(facts)
    for number_of, task in zip((2, 3), TASKS, strict=True):
        rows = _by_system(study, task)
        if rows:
            blocks += [
                heading(f"{task.capitalize()} (Table {number_of})"),
                table(_systems(facts, study, task, rows)),
            ]
            ours = {m: row["mean"] for m, row in rows.get("gensr", {}).items()}
            beside = run_tables.papers_rows(facts, paper.RANKING, task, ours, "paper-systems")
            blocks += [table(beside)] if beside else []
    if not papers:
        blocks.append(
            note(
                "Not the paper's data: its Tables 2 and 3 are not comparable with these, so they are not shown."
            )
        )
    if study["verdicts"]:
        blocks += [
            heading("GenSR against the best baseline"),
            figures(_verdict_figure(facts, study)),
            table(_verdicts(facts, study)),
        ]
    if study["failed"]:
        rows_failed = [
            [words(facts.title(f["name"])), count(f["seed"]), words(f["error"])] for f in study["failed"]
        ]
        columns = [Column("System", False), Column("Seed"), Column("Why", False)]
        blocks += [table(Table("systems-failed", "Systems that were not ranked", columns, rows_failed))]
    if kept := study.get("saved_ranks"):
        names = ", ".join(facts.title(name) for name in kept)
        blocks.append(
            note(
                f"From saved ranks of earlier runs, not trained in this one: {names}. What they took is from there, "
                "and left out where it is not known of every seed."
            )
        )
    return Section("systems", "All systems", blocks)


def _by_system(study: dict[str, Any], task: str) -> dict[str, dict[str, dict[str, Any]]]:
    """System -> metric -> row, the best by N@10 first."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for row in study["results"]:
        if row["task"] == task:
            found.setdefault(row["system"], {})[row["metric"]] = row
    return dict(sorted(found.items(), key=lambda each: -each[1]["ndcg_at_10"]["mean"]))


def _systems(facts: RunFacts, study: dict[str, Any], task: str, rows: dict[str, Any]) -> Table:
    columns = [Column("System", False), Column("Kind", False), *(Column(short) for short in _SHORT.values()),
               Column("± seeds", says="standard deviation of N@10 over seeds"), Column("Seeds"),
               Column("Epochs", says="trained until the end or early stopping"),
               Column("s/epoch", says="seconds of training per epoch, validation included"),
               Column("Parameters"), Column("Peak memory", says="of the training process, or of the GPU")]  # fmt: skip
    body = []
    for name, row in rows.items():
        cost, peak = study["costs"].get(name, {}), study["costs"].get(name, {}).get("peak_memory_mb")
        body.append(
            [
                words(facts.title(name)),
                words(study["systems"][name]["group"]),
                *(number(row[m]["mean"]) for m in _SHORT),
                number(row["ndcg_at_10"].get("deviation")),
                count(row["ndcg_at_10"]["seeds"]),
                number(cost.get("epochs"), 1),
                number(cost.get("seconds_per_epoch"), 1),
                count(cost.get("parameters")),
                memory(peak * 2**20 if peak else None),
            ]
        )
    samples = next(iter(rows.values()))["ndcg_at_10"]["samples"]
    caption = f"{task.capitalize()}: {len(rows)} systems, {samples:,} test samples"
    return Table(f"systems-{task}", caption, columns, mark_best(body, range(2, 2 + len(_SHORT))))


def _verdicts(facts: RunFacts, study: dict[str, Any]) -> Table:
    columns = [Column("Task", False), Column("Metric", False), Column("Best baseline", False), Column("GenSR − it"),
               Column(f"{facts.confidence} interval", says="paired bootstrap over test users"), Column("p"),
               Column("p (Holm)", says="paired t-test by user, corrected for all columns of both tables")]  # fmt: skip
    rows = [
        [
            words(v["task"]),
            words(run_tables.METRICS[v["metric"]]),
            words(facts.title(v["baseline"])),
            number(v["mean_difference"], 4, sign=True, mark=VERDICTS[verdict(v)]),
            interval(v["mean_difference"], v["low"], v["high"]),
            p_value(v.get("p")),
            p_value(v.get("p_holm")),
        ]
        for v in study["verdicts"]
    ]
    says = "The baseline is the best by its mean on the same test samples, which favours it."
    return Table("systems-verdicts", "Paired tests, column by column", columns, rows, says)


def _verdict_figure(facts: RunFacts, study: dict[str, Any]) -> Figure:
    rows = [
        Interval(
            f"{v['task'].capitalize()}, {run_tables.METRICS[v['metric']]}",
            v["mean_difference"],
            v["low"],
            v["high"],
            verdict(v),
        )
        for v in study["verdicts"]
    ]
    title = "GenSR minus the best baseline of each column"
    return Figure(interval_chart(title, rows, "difference"), title, "Right of the line GenSR is better.")
