"""The studies in a report: full ranking (Table 4), the ablation (Figure 5), τ and β (Figure 6)."""

from __future__ import annotations

from typing import Any

from gensr_model.config.base import TASKS
from gensr_model.reporting import paper, run_tables, systems
from gensr_model.reporting.charts import Figure, Interval, Series, interval_chart, line_chart
from gensr_model.reporting.findings import VERDICTS, tested
from gensr_model.reporting.run_facts import ABLATION, FULL, SWEEP, RunFacts
from gensr_model.reporting.sections import Block, Section, figures, heading, note, table, text
from gensr_model.reporting.tables import Cell, Column, Table, change, mark_best, number, percent
from gensr_model.reporting.tables import text as words

_TASK_COLORS = {"recommendation": 3, "search": 4, "metric": 1}


def sections(facts: RunFacts) -> list[Section]:
    """One section per study that the run has."""
    made = (*systems.comparisons(facts), full_ranking(facts), ablation(facts), sweep(facts))
    return [section for section in made if section is not None]


# --- Table 4 -----------------------------------------------------------------------------------------------------


def full_ranking(facts: RunFacts) -> Section | None:
    """GenSR that generates the item, and the references, over the whole catalogue."""
    study = facts.studies.get(FULL)
    if study is None:
        return None
    blocks = [text(f"GenSR generates the item itself (§6.3); every model ranks the positive among {study['among']}.")]
    for task in TASKS:
        if rows := study["results"].get(task, {}):
            drawn = run_tables.differences(facts, study, task)
            ours = rows.get("gensr", {})
            blocks += [
                heading(task.capitalize()),
                table(run_tables.results(facts, study, task, "full")),
                *([figures(*drawn)] if drawn else []),
                *map(table, run_tables.papers_rows(facts, paper.FULL_RANKING, task, ours, "paper-full")),
            ]
    blocks += paper.not_shown(facts, "its Table 4 is not comparable with this, so it is not shown")
    by_segment = run_tables.segments(facts, study.get("diagnosis", []), "full-segments")
    return Section("full", "Full ranking (Table 4)", [*blocks, *map(table, by_segment)])


# --- Figure 5 ----------------------------------------------------------------------------------------------------


def ablation(facts: RunFacts) -> Section | None:
    """NDCG@5 without each part, relative to the whole model."""
    study = facts.studies.get(ABLATION)
    if study is None:
        return None
    seeds = ", ".join(map(str, facts.summary["config"]["ablation"]["seeds"]))
    blocks: list[Block] = [
        text(
            f"GenSR without one of its parts, on the same data and candidates (§6.6): relative change of NDCG@5, with "
            f"the paired {facts.confidence} bootstrap interval over test users. Seeds of training: {seeds}."
        )
    ]
    drawn = [figure for task in TASKS if (figure := _ablation_figure(facts, study[ABLATION], task))]
    blocks += [figures(*drawn)] if drawn else []
    columns = [Column("Model", False), Column("Task", False), Column("N@5"), Column("± seeds"), Column("Change"),
               Column(f"{facts.confidence} interval, %"),
               Column("p (Holm)", hint="paired t-test by user, two-sided, corrected for all variants on both tasks"),
               Column("Paper, Amazon", hint="the paper's change on its own data, Amazon Kindle Store")]  # fmt: skip
    rows = []
    for row in study[ABLATION]:
        bounds = (row["change"], row["low"], row["high"], row.get("p_holm"), VERDICTS[_worth(row)])
        worth = [Cell("")] * 3 if row["variant"] == "gensr" else change(*bounds)
        rows.append([words(facts.title(row["variant"])), words(row["task"]), number(row["value"]),
                     number(row["std_over_seeds"]), *worth, percent(row["paper"])])  # fmt: skip
    caution = (
        "The paper's percentages come from its own data, backbone and size. It gives one figure for a single view and "
        "does not say which view remains. It does not train on one task alone."
    )
    blocks.append(table(Table("ablation-table", "What each part is worth", columns, rows, caution)))
    if study is not facts.summary:  # a study within a run: the run's own results are of other models
        ranked = [task for task in TASKS if study.get("results", {}).get(task)]
        blocks += [table(run_tables.results(facts, study, task, "ablation")) for task in ranked]
    return Section("ablation", "Ablation (Figure 5)", blocks)


def _worth(row: dict[str, Any]) -> str:
    """The contribution of a variant's missing part: good where N@5 is lower without it, bad where it is higher."""
    if row["high"] < 0:
        return "good"
    return "bad" if row["low"] > 0 else "open"


def _ablation_figure(facts: RunFacts, rows: list[dict[str, Any]], task: str) -> Figure | None:
    bars = [
        Interval(facts.title(row["variant"]), 100 * row["change"], 100 * row["low"], 100 * row["high"], _worth(row),
                 None if row["paper"] is None else 100 * row["paper"])
        for row in rows
        if row["task"] == task and row["variant"] != "gensr"
    ]  # fmt: skip
    if not bars:
        return None
    title = f"{task.capitalize()}: change of NDCG@5 without a part"
    how = "Left of the line the part earns something. Diamonds: the paper's change, on its own data (Amazon)."
    return Figure(interval_chart(title, bars, "relative change, %", digits=1), title, how)


# --- Figure 6 ----------------------------------------------------------------------------------------------------


def sweep(facts: RunFacts) -> Section | None:
    """Valid NDCG@5 over τ and over β, with the chosen point marked."""
    study = facts.studies.get(SWEEP)
    if study is None:
        return None
    rows, model = study[SWEEP], facts.summary["config"]["model"]
    chosen = next(row for row in rows if row["chosen"])
    blocks = [
        text(
            f"One factor at a time, the other as configured (τ {model['tau']:g}, β {model['beta']:g}). Chosen on "
            f"validation: τ {chosen['tau']:g}, β {chosen['beta']:g}, with a mean NDCG@5 of {chosen['metric']:.4f}. "
            "The test split is not read."
        )
    ]
    if paper.is_papers_data(facts):
        peaks = "recommendation is about 1.5% below its peak at τ = 0.01, 0.8% at τ = 0.09 (§6.7)"
        blocks.append(note(f"In the paper's text {peaks}."))
    blocks += paper.not_shown(facts, "its text on Figure 6 is not shown")
    drawn = [_curve(rows, "tau", "τ", "beta", model["beta"]), _curve(rows, "beta", "β", "tau", model["tau"])]
    blocks.append(figures(*(figure for figure in drawn if figure)))
    corrected = "paired t-test by user, corrected for all points on both tasks"
    from_chosen = Column(f"{facts.confidence} interval, %"), Column("p (Holm)", hint=corrected)
    columns = [*map(Column, ("τ", "β", "Mean", "Recommendation", "Search")),
               *(c for task in TASKS for c in (Column(f"{task.capitalize()}, from the chosen"), *from_chosen)),
               Column("Chosen", False)]  # fmt: skip
    body = mark_best(
        [
            [*(Cell(f"{row[n]:g}", row[n]) for n in ("tau", "beta")), *(number(row[n]) for n in ("metric", *TASKS)),
             *(cell for task in TASKS for cell in _from_chosen(facts, row, task)),
             words("chosen") if row["chosen"] else Cell("")]
            for row in rows
        ],
        range(2, 5),
    )  # fmt: skip
    blocks.append(table(Table("sweep-table", "Validation NDCG@5 of every point", columns, body)))
    blocks.append(note("The point was chosen on the same samples, which favours that point."))
    return Section("sweep", "τ and β (Figure 6)", blocks)


def _from_chosen(facts: RunFacts, row: dict[str, Any], task: str) -> list[Cell]:
    """Change of a task's NDCG@5 from the chosen point, with its interval and p.

    It is blank for the chosen point, and where the sweep has no ranks. It is marked only where p is significant: the
    best of many points is above some of them by chance.
    """
    value, low, high, p = (row.get(f"{task}_{name}") for name in ("change", "low", "high", "p_holm"))
    if value is None or low is None or high is None:
        return [Cell("")] * 3
    return change(value, low, high, p, VERDICTS[tested(value, p, facts)])


def _curve(rows: list[dict[str, Any]], name: str, letter: str, other: str, held: float) -> Figure | None:
    """NDCG@5 over the grid of one factor, its points evenly spaced as in the paper."""
    line = sorted((row for row in rows if row[other] == held), key=lambda row: row[name])
    if len(line) < 2:
        return None
    drawn = [
        Series(title, [(n, row[key]) for n, row in enumerate(line) if row[key] is not None], _TASK_COLORS[key])
        for key, title in (("recommendation", "recommendation"), ("search", "search"), ("metric", "mean"))
    ]
    places = [(float(n), f"{row[name]:g}") for n, row in enumerate(line)]
    marked = next((float(n) for n, row in enumerate(line) if row["chosen"]), None)
    title = f"Validation NDCG@5 over {letter}"
    lines = [each for each in drawn if each.points]
    how = "The dashed line is the point that was chosen on validation." if marked is not None else ""
    return Figure(line_chart(title, lines, x_label=letter, places=places, marked=marked), title, how)
