"""Tables and sections as Markdown and as HTML."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from gensr_model.reporting.sections import Section
from gensr_model.reporting.tables import Table, number

_MARKDOWN = {"best": "**{}**", "second": "<u>{}</u>"}  # by mark of a cell


@cache
def environment() -> Environment:
    """The templates; ``table(t)`` in them is `html`."""
    templates = Environment(
        loader=PackageLoader("gensr_model.reporting", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters["svg"] = Markup  # of our own making: charts.py escapes what it is given
    templates.filters["figure"] = lambda value, digits=4: number(value, digits).text
    templates.globals["table"] = html
    return templates


def html(table: Table) -> Markup:
    """A ``<table>`` with its caption and note. Every text in it is escaped."""
    return Markup(environment().get_template("table.html.j2").render(t=table))


def markdown(table: Table) -> str:
    """Caption, grid and note. The grid's columns are aligned in a terminal too."""
    table = _filled(table)
    rows = [[_MARKDOWN.get(cell.mark, "{}").format(_escaped(cell.text)) for cell in row] for row in table.rows]
    heads = [_escaped(column.title) for column in table.columns]
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    right = [column.numeric for column in table.columns]
    rule = ["-" * (width - 1) + ":" if r else "-" * width for width, r in zip(widths, right, strict=True)]
    lines = [_line(cells, widths, right) for cells in (heads, rule, *rows)]
    return "\n".join([f"**{table.caption}**", "", *lines, *(["", table.note] if table.note else []), ""])


def page(title: str, sections: Iterable[Section]) -> str:
    """Sections as one Markdown page, without figures."""
    parts = [f"# {title}\n"]
    for section in sections:
        parts.append(f"## {section.title}\n")
        for block in section.blocks:
            if isinstance(block.value, Table):
                parts.append(markdown(block.value))
            elif isinstance(block.value, str):
                parts.append(f"### {block.value}\n" if block.kind == "heading" else f"{block.value}\n")
    return "\n".join(parts)


def _filled(table: Table) -> Table:
    """The table without empty columns, for which a text has no room."""
    shown = [n for n in range(len(table.columns)) if any(row[n].text not in ("", "–") for row in table.rows)]
    return table._replace(
        columns=[table.columns[n] for n in shown], rows=[[row[n] for n in shown] for row in table.rows]
    )


def _escaped(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def _line(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    padded = (c.rjust(w) if r else c.ljust(w) for c, w, r in zip(cells, widths, right, strict=True))
    return "| " + " | ".join(padded) + " |"
