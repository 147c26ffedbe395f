"""The end of a run in a terminal: two short tables and three findings. All else is in the report."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from textwrap import shorten
from typing import Any

from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from gensr_model.reporting import findings, standings, study_findings
from gensr_model.reporting.run_facts import FULL, SYSTEMS, RunFacts
from gensr_model.reporting.tables import Table

WIDTH = 100  # columns at most
_NAME = 30  # columns of the first cell of a row
_FINDINGS, _LONGEST = 3, 230  # sentences, and letters of one
_STYLES = {"best": "bold", "good": "green", "bad": "red", "muted": "dim"}


def show(summary: dict[str, Any], console: Console) -> None:
    """The content of ``summary.json``, in as many columns as there are, up to ``WIDTH``."""
    facts = RunFacts.from_summary(summary)
    width = min(console.width, WIDTH)

    def put(*each: Text | Grid) -> None:
        console.print(*each, sep="", width=width, overflow="fold")

    put(Text("\n" + about(facts)))
    for standing in standings.standings(facts):
        made = standings.short_table(facts, standing)
        put(Text("\n" + made.caption, "bold"))
        put(_drawn(made))
    for number, sentence in enumerate(top_findings(facts), 1):
        if number == 1:
            put(Text("\nFindings", "bold"))
        for line, words in enumerate(Text(sentence).wrap(console, width - 3)):
            put(Text("   " if line else f"{number}. "), words)


def about(facts: RunFacts) -> str:
    """The data and the protocol in a sentence or two."""
    summary = facts.summary
    study = facts.studies.get(summary.get("study", ""), {})
    among = study.get("among") or (
        f"{summary['negatives']} frozen negatives ({summary['config']['evaluation']['protocol']})"
    )
    said = f"{shorten(summary['dataset'], 60, placeholder='…')}: {summary['source']}, format {summary['format']}, "
    said += f"preset {summary['preset']}. A positive is ranked among {among}."
    return f"{said} Generated data say nothing of real users." if facts.generated else said


def top_findings(facts: RunFacts) -> list[str]:
    """Three sentences or fewer, the gravest first: what failed, then where GenSR stands, then the rest."""
    every = list(dict.fromkeys(_sentences(facts)))
    return [shorten(each, _LONGEST, placeholder=" …") for each in itertools.islice(every, _FINDINGS)]


def _sentences(facts: RunFacts) -> Iterator[str]:
    known = standings.standings(facts)
    yield from study_findings.failed(facts)
    yield from (standings.outcome(facts, standing) for standing in known)
    yield from standings.against_heads(known)
    if facts.summary.get("study") not in (FULL, *SYSTEMS):  # of these the sentences above are the outcome
        yield from study_findings.outcomes(facts)
    yield from study_findings.problems(facts)
    for each in (findings.losing_segments, findings.conflict, findings.limits):
        yield from each(facts)


def _drawn(table: Table) -> Grid:
    drawn = Grid(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in table.columns:
        drawn.add_column(column.title, justify="right" if column.numeric else "left", no_wrap=True)
    for row in table.rows:
        cells = [Text(cell.text, _STYLES.get(cell.mark, "")) for cell in row]
        cells[0].truncate(_NAME, overflow="ellipsis")
        drawn.add_row(*cells)
    return drawn
