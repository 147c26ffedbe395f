"""Tables 2, 3 and 4 in a report: every system on the same candidates, or over the whole catalogue."""

from __future__ import annotations

from typing import Any, NamedTuple

from gensr_model.config.base import TASKS
from gensr_model.evaluation.comparison_table import COLUMNS, SIGNIFICANT, seeds_text
from gensr_model.reporting import paper, run_tables
from gensr_model.reporting.charts import Figure, Interval, interval_chart
from gensr_model.reporting.findings import VERDICTS, verdict
from gensr_model.reporting.run_facts import FULL_TABLE, RERANK, SYSTEMS, RunFacts
from gensr_model.reporting.sections import Section, figures, heading, note, table, text
from gensr_model.reporting.tables import Cell, Column, Table, count, interval, mark_best, memory, number, p_value
from gensr_model.reporting.tables import text as words

_OURS = "gensr"
_SCORED = 10  # the column of seconds to score
_NOTE = (
    "A star: GenSR leads the best other system (paired t-test by user, Holm's correction over all columns, "
    f"p < {SIGNIFICANT}). Epochs count all that were trained. Seconds to score include loading the model. "
    "Peak memory is that of the training process or of the GPU, with validation."
)
_SAVED = "Their costs are those of the earlier run, perhaps on another machine. A cost that a seed lacks is blank."


class _Kind(NamedTuple):
    """A study's section, and the paper's tables beside it."""

    name: str  # name of the section, and prefix of its tables' names
    tables: tuple[str, str]  # the paper's tables, one per task
    paper: paper.Rows
    not_comparable: str


_KINDS = {
    RERANK: _Kind("systems", ("Table 2", "Table 3"), paper.RANKING, "Tables 2 and 3 are"),
    FULL_TABLE: _Kind("catalogue", ("Table 4", "Table 4"), paper.FULL_RANKING, "Table 4 is"),
}


def comparisons(facts: RunFacts) -> list[Section]:
    """The sections of the studies that compare many systems."""
    return [_comparison(facts, name) for name in SYSTEMS if name in facts.studies]


def _comparison(facts: RunFacts, name: str) -> Section:
    """Every system of a study, the tests of GenSR against the best baseline, and the failed systems."""
    kind, study = _KINDS[name], facts.studies[name]
    trained = (name for name, system in study["systems"].items() if system["group"] != "reference")
    seeds = seeds_text(row["seeds"] for name in trained for row in study["results"] if row["system"] == name)
    blocks = [
        text(
            f"Every system ranks the same positive {_among(facts, study)}; {seeds}. Best first by N@10; the best of a "
            "column is bold, the second underlined."
        )
    ]
    for paper_table, task in zip(kind.tables, TASKS, strict=True):
        rows = _by_system(study, task)
        if rows:
            ours = {metric: row["mean"] for metric, row in rows.get(_OURS, {}).items()}
            blocks += [
                heading(f"{task.capitalize()} ({paper_table})"),
                table(_systems(facts, kind, study, task, rows)),
                *map(table, run_tables.papers_rows(facts, kind.paper, task, ours, f"paper-{kind.name}")),
            ]
    blocks += paper.not_shown(facts, f"its {kind.not_comparable} not comparable with these, so they are not shown")
    if study["verdicts"]:
        blocks += [
            heading("GenSR against the best baseline"),
            figures(_verdict_figure(study)),
            table(_verdicts(facts, kind, study)),
        ]
    if study["failed"]:
        failed = [[words(facts.title(f["name"])), count(f["seed"]), words(f["error"])] for f in study["failed"]]
        columns = [Column("System", False), Column("Seed"), Column("Why", False)]
        blocks.append(table(Table(f"{kind.name}-failed", "Systems that were not ranked", columns, failed)))
    if left_out := study.get("left_out"):
        blocks.append(note(f"Left out, as they rank given candidates and not the catalogue: {', '.join(left_out)}."))
    if saved := study.get("saved_ranks"):
        names = ", ".join(map(facts.title, saved))
        blocks.append(note(f"From saved ranks of earlier runs, not trained in this one: {names}. {_SAVED}"))
    return Section(kind.name, SYSTEMS[name], blocks)


def _among(facts: RunFacts, study: dict[str, Any]) -> str:
    if "among" in study:
        return f"among {study['among']}"
    return f"among the same {facts.negatives()}"


def _by_system(study: dict[str, Any], task: str) -> dict[str, dict[str, dict[str, Any]]]:
    """System -> metric -> row, with the best by N@10 first."""
    systems: dict[str, dict[str, dict[str, Any]]] = {}
    for row in study["results"]:
        if row["task"] == task:
            systems.setdefault(row["system"], {})[row["metric"]] = row
    return dict(sorted(systems.items(), key=lambda each: -each[1]["ndcg_at_10"]["mean"]))


def _systems(facts: RunFacts, kind: _Kind, study: dict[str, Any], task: str, rows: dict[str, Any]) -> Table:
    columns = [Column("System", False), Column("Kind", False), *map(Column, COLUMNS.values()),
               Column("± seeds", hint="standard deviation of N@10 over seeds"), Column("Seeds"),
               Column("Epochs", hint="trained until the end or early stopping"),
               Column("s/epoch", hint="seconds of training per epoch, validation included"),
               Column("s to score", hint="seconds to rank all test samples, loading included"),
               Column("Parameters"), Column("Peak memory", hint="of the training process, or of the GPU")]  # fmt: skip
    over_catalogue = "among" in study
    if over_catalogue:
        columns[_SCORED] = Column("s/1,000 samples", hint="seconds to rank a thousand samples, loading included")
        columns += [Column("Colliding ids", hint="share of items that share an id but for its last token"),
                    Column("Invalid ids", hint="probability of token sequences that are no item's id")]  # fmt: skip
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
        if over_catalogue:
            ranked = sum(r["samples"] for r in study["results"] if (r["system"], r["metric"]) == (name, "ndcg_at_10"))
            seconds = cost.get("seconds_to_score")
            body[-1][_SCORED] = number(None if seconds is None else 1_000 * seconds / ranked, 2)
            body[-1] += [number(cost.get("colliding_ids"), 3), number(cost.get("invalid_ids"), 3)]
    body = mark_best(body, range(2, 2 + len(COLUMNS)))
    if _OURS in rows:
        _star(body[list(rows).index(_OURS)], [v for v in study["verdicts"] if v["task"] == task])
    samples = next(iter(rows.values()))["ndcg_at_10"]["samples"]
    tested = run_tables.users_text(samples, (v for v in study["verdicts"] if v["task"] == task))
    return Table(f"{kind.name}-{task}", f"{task.capitalize()}: {len(rows)} systems, {tested}", columns, body, _NOTE)


def _star(ours: list[Cell], verdicts: list[dict[str, Any]]) -> None:
    """Add a star to each column in which ours leads the best baseline significantly, after correction."""
    for v in verdicts:
        if v.get("p_holm", 1.0) < SIGNIFICANT and v["mean_difference"] > 0:
            place = 2 + list(COLUMNS).index(v["metric"])
            ours[place] = ours[place]._replace(text=f"{ours[place].text}*")


def _verdicts(facts: RunFacts, kind: _Kind, study: dict[str, Any]) -> Table:
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
    caution = (
        "The baseline is the system that is best on these test samples, references included. "
        "That choice favours the baseline."
    )
    return Table(f"{kind.name}-verdicts", "Paired tests, column by column", columns, rows, caution)


def _verdict_figure(study: dict[str, Any]) -> Figure:
    rows = [
        Interval(f"{v['task'].capitalize()}, {COLUMNS[v['metric']]}", v["mean_difference"], v["low"], v["high"],
                 verdict(v))
        for v in study["verdicts"]
    ]  # fmt: skip
    title = "GenSR minus the best baseline of each column"
    return Figure(interval_chart(title, rows, "difference"), title, "Right of the line GenSR is better.")
