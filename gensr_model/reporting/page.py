"""The report as one HTML page that needs neither network nor scripts."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any, NamedTuple

from markupsafe import Markup

from gensr_model.config.base import TASKS
from gensr_model.reporting import claims, findings, first_screen, paper, run_sections, run_tables, study_findings
from gensr_model.reporting.meanings import meaning
from gensr_model.reporting.renderers import environment
from gensr_model.reporting.run_facts import RunFacts
from gensr_model.reporting.sections import Section
from gensr_model.reporting.tables import Column, Table, count, text


class Entry(NamedTuple):
    """A section in the table of contents."""

    name: str
    title: str
    meaning: str


_BACKGROUND = ("check", "training", "semantic-ids", "speed")  # sections of what the results rest on


def render(facts: RunFacts) -> str:
    """The page. Every text of the data is escaped."""
    sections = [each for each in (*run_sections.report_sections(facts), claims.section(facts)) if each]
    # The claims are background, too, where the data are in no format of the paper.
    background = _BACKGROUND if facts.data_format and facts.data_format.paper else (*_BACKGROUND, "claims")
    context: dict[str, Any] = {
        "facts": facts,
        "summary": facts.summary,
        "style": Markup(_file("style.css")),
        "script": Markup(_file("sort.js")),
        "papers": paper.is_papers_data(facts),
        "tasks": [task for task in TASKS if facts.summary["results"].get(task)],
        "answers": first_screen.answers(facts),
        "findings": first_screen.top_findings(facts),
        "problems": [*study_findings.problems(facts), *findings.what_did_not_work(facts)],
        "config": json.dumps(facts.summary["config"], indent=2, ensure_ascii=False),
        "stages": run_tables.stages(facts),
        "same_time": _same_time(facts),
        "counts": _counts(facts),
        "filter": _filter(facts),
        "profile": run_tables.profile_columns(facts),
        "checks": _checks(facts),
        "audits": _audits(facts),
        "results": [section for section in sections if section.name not in background],
        "background": [section for section in sections if section.name in background],
        "contents": _contents(facts, sections, background),
    }
    return environment().get_template("report.html.j2").render(context)


def _file(name: str) -> str:
    return resources.files("gensr_model.reporting").joinpath("templates", name).read_text(encoding="utf-8")


def _contents(facts: RunFacts, sections: list[Section], background: tuple[str, ...]) -> list[Entry]:
    """In the order of the page: results, what did not work, then what the results rest on."""
    titles = {section.name: section.title for section in sections}
    entries = [
        (True, "short", "In short"),
        *((True, name, title) for name, title in titles.items() if name not in background),
        (bool(facts.examples), "examples", "Example rankings"),
        (True, "failed", "What did not work"),
        (bool(facts.manifest), "data", "Data"),
        (bool(facts.audits or facts.checks), "checks", "Checks and audits"),
        *((True, name, title) for name, title in titles.items() if name in background),
        (True, "run", "What was run"),
    ]
    return [Entry(name, title, meaning(facts, name)) for there, name, title in entries if there]


def _same_time(facts: RunFacts) -> str:
    """The rule for events at a sample's own instant, and the shares of histories that it decides, where known."""
    include = facts.manifest.get("config", {}).get("same_time") == "include"
    rule = "hold earlier events of the sample's own instant" if include else "leave out the sample's own instant"
    shares: dict[str, float | None] = next(
        (each["values"] for each in facts.audit_figures if each["name"] == "same_time"), {}
    )
    known = [f"{share:.1%} of {name.removeprefix('touched_')}" for name, share in shares.items() if share is not None]
    decided = f" The rule decides the histories of {findings.joined(known)} samples." if known else ""
    return f"Histories {rule} (prepare.same_time: {'include' if include else 'exclude'}).{decided}"


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
        papers = paper.for_format(paper.STATISTICS, facts)
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
    rows = [[text(c["suite"].replace("_", " ")), count(c["expectations"]), count(c["failed"])] for c in facts.checks]
    columns = [Column("Suite", False), Column("Expectations"), Column("Failed")]
    return Table("checks-table", "Expectations on raw and prepared tables", columns, rows) if rows else None


def _audits(facts: RunFacts) -> Table | None:
    rows = [[text(a["name"].replace("_", " ")), count(a["violations"]), text(a["rule"])] for a in facts.audits]
    columns = [Column("Audit", False), Column("Rows that break it"), Column("What it looks for", False)]
    return Table("audits-table", "Audits of the prepared dataset", columns, rows) if rows else None
