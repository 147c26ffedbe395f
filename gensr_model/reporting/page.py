"""The report as one HTML page that asks nothing of the network and needs no script."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from gensr_model.config.base import TASKS
from gensr_model.reporting import findings, mechanisms, paper, run_tables, study_findings, study_sections
from gensr_model.reporting.run_facts import RunFacts
from gensr_model.reporting.tables import Column, Table, count, number, text

_TEMPLATES = "templates"


class Entry(NamedTuple):
    """A section in the table of contents."""

    name: str
    title: str


def render(facts: RunFacts) -> str:
    """The page; every text of the data is escaped."""
    ranked = [task for task in TASKS if facts.summary["results"].get(task)]
    papers = paper.is_papers_data(facts)
    context: dict[str, Any] = {
        "facts": facts,
        "summary": facts.summary,
        "style": Markup(_file("style.css")),
        "script": Markup(_file("sort.js")),
        "paper_name": paper.DATA[facts.summary["format"]],
        "papers": papers,
        "tasks": ranked,
        "samples": {t: int(next(iter(facts.summary["results"][t].values()))["samples"]) for t in ranked},
        "short": findings.in_short(facts),
        "outcomes": study_findings.outcomes(facts),
        "problems": [*study_findings.problems(facts), *findings.what_did_not_work(facts)],
        "config": json.dumps(facts.summary["config"], indent=2, ensure_ascii=False),
        "stages": run_tables.stages(facts),
        "counts": _counts(facts),
        "filter": _filter(facts),
        "profile": run_tables.columns_of(facts),
        "checks": _checks(facts),
        "audits": _audits(facts),
        "results": {task: run_tables.results(facts, task) for task in ranked},
        "differences": {task: run_tables.differences(facts, facts.summary, task) for task in ranked},
        "papers_results": {task: _beside_paper(facts, task) for task in ranked},
        "segments": run_tables.segments(facts, facts.segments),
        "learning": run_tables.learning(facts),
        "training": run_tables.training(facts) if facts.training else None,
        "studies": study_sections.sections(facts),
        "mechanisms": mechanisms.section(facts),
        "speed": run_tables.speed(facts),
    }
    context["contents"] = _contents(context)
    return _environment().get_template("report.html.j2").render(context)


def _beside_paper(facts: RunFacts, task: str) -> Table | None:
    return run_tables.papers_rows(
        facts, paper.RANKING, task, facts.summary["results"][task].get("gensr", {}), "paper"
    )


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("gensr_model.reporting", _TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["svg"] = Markup  # of our own making: charts.py escapes what it is given
    environment.filters["figure"] = lambda value, digits=4: number(value, digits).text
    return environment


def _file(name: str) -> str:
    return resources.files("gensr_model.reporting").joinpath(_TEMPLATES, name).read_text(encoding="utf-8")


def _contents(context: dict[str, Any]) -> list[Entry]:
    facts: RunFacts = context["facts"]
    every = [
        (True, Entry("short", "In short")),
        (True, Entry("run", "What was run")),
        (bool(facts.manifest), Entry("data", "Data")),
        (bool(facts.audits or facts.checks), Entry("checks", "Checks and audits")),
        (bool(context["tasks"]), Entry("results", "Results")),
        (bool(facts.segments), Entry("segments", "Segments")),
        *((True, Entry(section.name, section.title)) for section in context["studies"]),
        (bool(facts.training), Entry("training", "Training")),
        (bool(context["mechanisms"]), Entry("mechanisms", "Mechanisms")),
        (bool(context["speed"]), Entry("speed", "Speed and memory")),
        (bool(facts.examples), Entry("examples", "Example rankings")),
        (True, Entry("failed", "What did not work")),
    ]
    return [entry for there, entry in every if there]


def _counts(facts: RunFacts) -> Table | None:
    counts = facts.manifest.get("counts")
    if not counts:
        return None
    wanted = {"users": "Users", "items": "Items", "queries": "Distinct queries", "events": "Events",
              "samples_train": "Training samples", "samples_valid": "Validation samples",
              "samples_test": "Test samples", "graph": "Pairs in LightGCN's graph"}  # fmt: skip
    columns = [Column("What", False), Column("Rows")]
    rows = [[text(title), count(counts[name])] for name, title in wanted.items() if name in counts]
    if paper.is_papers_data(facts):
        papers = paper.STATISTICS[facts.summary["format"]]
        columns.append(Column("The paper's (Table 1)"))
        for row, name in zip(rows, (name for name in wanted if name in counts), strict=True):
            row.append(count(papers.get(name)))
    return Table("counts", "The prepared dataset", columns, rows, sortable=False)


def _filter(facts: RunFacts) -> Table | None:
    steps = facts.manifest.get("counts", {}).get("filter", {}).get("steps")
    if not steps:
        return None
    names = ("users", "items", "interactions")
    columns = [Column("Step", False), *(Column(name.capitalize()) for name in names)]
    rows = [[text(step["step"]), *(count(step.get(name)) for name in names)] for step in steps]
    return Table("filter", "What the filter left", columns, rows, sortable=False)


def _checks(facts: RunFacts) -> Table | None:
    rows = [
        [text(c["suite"].replace("_", " ")), count(c["expectations"]), count(c["failed"])]
        for c in facts.checks
    ]
    columns = [Column("Suite", False), Column("Expectations"), Column("Failed")]
    return Table("checks-table", "Expectations on raw and prepared tables", columns, rows) if rows else None


def _audits(facts: RunFacts) -> Table | None:
    rows = [
        [text(a["name"].replace("_", " ")), count(a["violations"]), text(a["rule"])] for a in facts.audits
    ]
    columns = [Column("Audit", False), Column("Rows that break it"), Column("What it looks for", False)]
    return Table("audits-table", "Audits of the prepared dataset", columns, rows) if rows else None
