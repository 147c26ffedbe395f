"""The end of a run in a terminal: two short tables and three findings. All else is in the report."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from gensr_model.reporting import first_screen, standings
from gensr_model.reporting.run_facts import RunFacts
from gensr_model.reporting.tables import Table

WIDTH = 100  # columns at most
_NAME = 30  # columns of the first cell of a row
_STYLES = {"best": "bold", "good": "green", "bad": "red", "muted": "dim"}


def show(summary: dict[str, Any], console: Console) -> None:
    """The content of ``summary.json``, in as many columns as there are, up to ``WIDTH``."""
    facts = RunFacts.from_summary(summary)
    width = min(console.width, WIDTH)

    def put(*each: Text | Grid) -> None:
        console.print(*each, sep="", width=width, overflow="fold")

    put(Text("\n" + first_screen.about(facts)))
    tables = [standings.short_table(facts, standing) for standing in standings.standings(facts)]
    for made in tables:
        put(Text("\n" + made.caption, "bold"))
        put(_drawn(made))
    for note in dict.fromkeys(made.note for made in tables if made.note):
        put(Text(note, "dim"))
    for number, sentence in enumerate(first_screen.top_findings(facts), 1):
        if number == 1:
            put(Text("\nFindings", "bold"))
        for line, words in enumerate(Text(sentence).wrap(console, width - 3)):
            put(Text("   " if line else f"{number}. "), words)


def _drawn(table: Table) -> Grid:
    drawn = Grid(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in table.columns:
        drawn.add_column(column.title, justify="right" if column.numeric else "left", no_wrap=True)
    for row in table.rows:
        cells = [Text(cell.text, _STYLES.get(cell.mark, "")) for cell in row]
        cells[0].truncate(_NAME, overflow="ellipsis")
        drawn.add_row(*cells)
    return drawn
