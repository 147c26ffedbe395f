"""The report as one HTML page that asks nothing of the network and needs no script."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from gensr_model.config import TASKS
from gensr_model.reporting import findings, paper, parts
from gensr_model.reporting.facts import Facts
from gensr_model.reporting.tables import Column, Table, count, number, text

_TEMPLATES = "templates"


class Entry(NamedTuple):
    """A section in the table of contents."""

    name: str
    title: str


def render(facts: Facts) -> str:
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
        "samples": {t: int(facts.summary["results"][t]["gensr"]["samples"]) for t in ranked},
        "short": findings.in_short(facts),
        "problems": findings.what_did_not_work(facts),
        "config": json.dumps(facts.summary["config"], indent=2, ensure_ascii=False),
        "stages": parts.stages(facts),
        "counts": _counts(facts),
        "filter": _filter(facts),
        "profile": parts.columns_of(facts),
        "checks": _checks(facts),
        "audits": _audits(facts),
        "results": {task: parts.results(facts, task) for task in ranked},
        "differences": {task: parts.differences(facts, task) for task in ranked},
        "papers_results": {task: parts.papers_results(facts, task) for task in ranked} if papers else {},
        "segments": parts.segments(facts),
        "learning": parts.learning(facts),
        "training": parts.training(facts) if facts.training else None,
        "information": parts.information(facts),
        "papers_information": parts.papers_information(facts) if papers else None,
        "gradients": parts.gradients(facts),
        "conflict": parts.conflict(facts),
        "speed": parts.speed(facts),
    }
    context["contents"] = _contents(context)
    return _environment().get_template("report.html.j2").render(context)


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
    facts: Facts = context["facts"]
    every = [
        (True, Entry("short", "In short")),
        (True, Entry("run", "What was run")),
        (bool(facts.manifest), Entry("data", "Data")),
        (bool(facts.audits or facts.checks), Entry("checks", "Checks and audits")),
        (True, Entry("results", "Results")),
        (bool(facts.segments), Entry("segments", "Segments")),
        (bool(facts.training), Entry("training", "Training")),
        (bool(context["information"] or context["conflict"]), Entry("mechanisms", "Mechanisms")),
        (bool(context["speed"]), Entry("speed", "Speed and memory")),
        (bool(facts.examples), Entry("examples", "Example rankings")),
        (True, Entry("failed", "What did not work")),
    ]
    return [entry for there, entry in every if there]


def _counts(facts: Facts) -> Table | None:
    counts = facts.manifest.get("counts")
    if not counts:
        return None
    wanted = {"users": "Users", "items": "Items", "queries": "Distinct queries", "events": "Events",
              "samples_train": "Training samples", "samples_valid": "Validation samples",
              "samples_test": "Test samples", "graph": "Pairs in LightGCN's graph"}  # fmt: skip
    rows = [[text(title), count(counts[name])] for name, title in wanted.items() if name in counts]
    return Table(
        "counts", "The prepared dataset", [Column("What", False), Column("Rows")], rows, sortable=False
    )


def _filter(facts: Facts) -> Table | None:
    steps = facts.manifest.get("counts", {}).get("filter", {}).get("steps")
    if not steps:
        return None
    names = ("users", "items", "interactions")
    columns = [Column("Step", False), *(Column(name.capitalize()) for name in names)]
    rows = [[text(step["step"]), *(count(step.get(name)) for name in names)] for step in steps]
    return Table("filter", "What the filter left", columns, rows, sortable=False)


def _checks(facts: Facts) -> Table | None:
    rows = [
        [text(c["suite"].replace("_", " ")), count(c["expectations"]), count(c["failed"])]
        for c in facts.checks
    ]
    columns = [Column("Suite", False), Column("Expectations"), Column("Failed")]
    return Table("checks-table", "Expectations on raw and prepared tables", columns, rows) if rows else None


def _audits(facts: Facts) -> Table | None:
    rows = [
        [text(a["name"].partition("_")[2].replace("_", " ")), count(a["violations"]), text(a["rule"])]
        for a in facts.audits
    ]
    columns = [Column("Audit", False), Column("Rows that break it"), Column("What it looks for", False)]
    return Table("audits-table", "Audits of the prepared dataset", columns, rows) if rows else None
