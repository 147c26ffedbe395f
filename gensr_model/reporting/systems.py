"""Tables 2 and 3 in a report: every system on the same candidates."""

from __future__ import annotations

from typing import Any

from gensr_model.config.base import TASKS
from gensr_model.evaluation.comparison_table import COLUMNS, SIGNIFICANT, seeds_text
from gensr_model.reporting import paper, run_tables
from gensr_model.reporting.charts import Figure, Interval, interval_chart
from gensr_model.reporting.findings import VERDICTS, verdict
from gensr_model.reporting.run_facts import RERANK, RunFacts
from gensr_model.reporting.sections import Section, figures, heading, note, table, text
from gensr_model.reporting.tables import Cell, Column, Table, count, interval, mark_best, memory, number, p_value
from gensr_model.reporting.tables import text as words

_OURS = "gensr"
_NOTE = (
    "A star: GenSR leads the best other system, paired t-test by user with Holm's correction over all columns, "
    f"p < {SIGNIFICANT}. Epochs are all that were trained. Seconds to score have the loading in them. Peak memory is "
    "that of the training process, or of the GPU, validation included."
)
_SAVED = "What they took is from there: perhaps of another machine, and blank where it is not known of every seed."


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
    for number_of, task in zip((2, 3), TASKS, strict=True):
        rows = _by_system(study, task)
        if rows:
            ours = {metric: row["mean"] for metric, row in rows.get(_OURS, {}).items()}
            blocks += [
                heading(f"{task.capitalize()} (Table {number_of})"),
                table(_systems(facts, study, task, rows)),
                *map(table, run_tables.papers_rows(facts, paper.RANKING, task, ours, "paper-systems")),
            ]
    blocks += paper.not_shown(facts, "its Tables 2 and 3 are not comparable with these, so they are not shown")
    if study["verdicts"]:
        blocks += [
            heading("GenSR against the best baseline"),
            figures(_verdict_figure(study)),
            table(_verdicts(facts, study)),
        ]
    if study["failed"]:
        failed = [[words(facts.title(f["name"])), count(f["seed"]), words(f["error"])] for f in study["failed"]]
        columns = [Column("System", False), Column("Seed"), Column("Why", False)]
        blocks.append(table(Table("systems-failed", "Systems that were not ranked", columns, failed)))
    if saved := study.get("saved_ranks"):
        names = ", ".join(map(facts.title, saved))
        blocks.append(note(f"From saved ranks of earlier runs, not trained in this one: {names}. {_SAVED}"))
    return Section("systems", "All systems", blocks)


def _by_system(study: dict[str, Any], task: str) -> dict[str, dict[str, dict[str, Any]]]:
    """System -> metric -> row, the best by N@10 first."""
    systems: dict[str, dict[str, dict[str, Any]]] = {}
    for row in study["results"]:
        if row["task"] == task:
            systems.setdefault(row["system"], {})[row["metric"]] = row
    return dict(sorted(systems.items(), key=lambda each: -each[1]["ndcg_at_10"]["mean"]))


def _systems(facts: RunFacts, study: dict[str, Any], task: str, rows: dict[str, Any]) -> Table:
    columns = [Column("System", False), Column("Kind", False), *map(Column, COLUMNS.values()),
               Column("± seeds", hint="standard deviation of N@10 over seeds"), Column("Seeds"),
               Column("Epochs", hint="trained until the end or early stopping"),
               Column("s/epoch", hint="seconds of training per epoch, validation included"),
               Column("s to score", hint="seconds to rank all test samples, loading included"),
               Column("Parameters"), Column("Peak memory", hint="of the training process, or of the GPU")]  # fmt: skip
    body = []
    for name, row in rows.items():
        cost = study["costs"].get(name, {})
        peak = cost.get("peak_memory_mb")
        body.append(
            [words(facts.title(name)), words(study["systems"][name]["group"]),
             *(number(row[metric]["mean"]) for metric in COLUMNS), number(row["ndcg_at_10"].get("deviation")),
             count(row["ndcg_at_10"]["seeds"]), number(cost.get("epochs"), 1),
             number(cost.get("seconds_per_epoch"), 1), number(cost.get("seconds_to_score"), 1),
             count(cost.get("parameters")), memory(peak * 2**20 if peak else None)]
        )  # fmt: skip
    body = mark_best(body, range(2, 2 + len(COLUMNS)))
    if _OURS in rows:
        _star(body[list(rows).index(_OURS)], [v for v in study["verdicts"] if v["task"] == task])
    samples = next(iter(rows.values()))["ndcg_at_10"]["samples"]
    tested = run_tables.users_text(samples, (v for v in study["verdicts"] if v["task"] == task))
    return Table(f"systems-{task}", f"{task.capitalize()}: {len(rows)} systems, {tested}", columns, body, _NOTE)


def _star(ours: list[Cell], verdicts: list[dict[str, Any]]) -> None:
    """Star each column in which ours leads the best baseline significantly, after correction."""
    for v in verdicts:
        if v.get("p_holm", 1.0) < SIGNIFICANT and v["mean_difference"] > 0:
            place = 2 + list(COLUMNS).index(v["metric"])
            ours[place] = ours[place]._replace(text=f"{ours[place].text}*")


def _verdicts(facts: RunFacts, study: dict[str, Any]) -> Table:
    columns = [Column("Task", False), Column("Metric", False), Column("Best baseline", False), Column("GenSR − it"),
               Column(f"{facts.confidence} interval", hint="paired bootstrap over test users"), Column("t"),
               Column("p"),
               Column("p (Holm)", hint="paired t-test by user, corrected for all columns of both tables")]  # fmt: skip
    rows = [
        [words(v["task"]), words(COLUMNS[v["metric"]]), words(facts.title(v["baseline"])),
         number(v["mean_difference"], 4, sign=True, mark=VERDICTS[verdict(v)]),
         interval(v["mean_difference"], v["low"], v["high"]), number(v.get("t"), 2), p_value(v.get("p")),
         p_value(v.get("p_holm"))]
        for v in study["verdicts"]
    ]  # fmt: skip
    caution = "The baseline is the best other system, references included, on the same test samples, which favours it."
    return Table("systems-verdicts", "Paired tests, column by column", columns, rows, caution)


def _verdict_figure(study: dict[str, Any]) -> Figure:
    rows = [
        Interval(f"{v['task'].capitalize()}, {COLUMNS[v['metric']]}", v["mean_difference"], v["low"], v["high"],
                 verdict(v))
        for v in study["verdicts"]
    ]  # fmt: skip
    title = "GenSR minus the best baseline of each column"
    return Figure(interval_chart(title, rows, "difference"), title, "Right of the line GenSR is better.")
