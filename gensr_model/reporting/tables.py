"""Tables as data: the text, sort value and mark of each cell. `renderers` writes them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Column(NamedTuple):
    """A column head. ``numeric`` columns are right-aligned, with digits of one width."""

    title: str
    numeric: bool = True
    hint: str = ""  # the head in full, where it is short


class Cell(NamedTuple):
    """A text, and the value by which it is sorted."""

    text: str
    value: float | str | None = None  # none sorts last
    mark: str = ""  # best, second, good, bad or muted


class Table(NamedTuple):
    """Rows of cells; the first cell of a row is its head."""

    name: str  # unique on the page
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    note: str = ""
    sortable: bool = True


def text(value: object, mark: str = "") -> Cell:
    """A cell of words."""
    return Cell(str(value), str(value).casefold(), mark)


def number(value: float | None, digits: int = 4, sign: bool = False, mark: str = "") -> Cell:
    """A cell of a number; a dash for none."""
    if value is None or not math.isfinite(value):
        return Cell("–", None, "muted")
    value = float(value)
    shown = f"{round(value, digits) + 0.0:{'+' if sign else ''}.{digits}f}"  # + 0.0: no minus before zero
    return Cell(shown.replace("-", "−"), value, mark)


def percent(value: float | None, mark: str = "") -> Cell:
    """A cell of a change as a percentage, with its sign."""
    if value is None:
        return number(None)
    return Cell(f"{round(100 * value, 1) + 0.0:+.1f}%".replace("-", "−"), float(value), mark)


def interval(value: float, low: float, high: float, scale: float = 1.0, digits: int = 4) -> Cell:
    """A cell of bounds, sorted by what they are around."""
    return Cell(f"[{scale * low:+.{digits}f}, {scale * high:+.{digits}f}]".replace("-", "−"), float(value))


def difference(value: float, low: float, high: float, p: float | None, mark: str = "", digits: int = 4) -> list[Cell]:
    """Three cells: a difference with its sign, its bounds, and its corrected p."""
    return [number(value, digits, True, mark), interval(value, low, high, digits=digits), p_value(p)]


def change(value: float, low: float, high: float, p: float | None, mark: str = "") -> list[Cell]:
    """Three cells: a relative change as a percentage, its bounds in percent, and its corrected p."""
    return [percent(value, mark=mark), interval(value, low, high, 100, 1), p_value(p)]


def p_value(value: float | None) -> Cell:
    """A cell of a p value."""
    if value is None:
        return number(None)
    return Cell("< 0.001", value) if value < 0.001 else number(value, 3)


def count(value: float | None) -> Cell:
    """A cell of a whole number."""
    return number(None) if value is None else Cell(f"{value:,.0f}", value)


def seconds(value: float | None) -> Cell:
    """A cell of a duration."""
    return number(None) if value is None else Cell(duration(value), value)


def memory(value: float | None) -> Cell:
    """A cell of bytes; a dash where nothing was measured."""
    if not value:
        return number(None)
    size = f"{value / 1e9:.2f} GB" if value >= 1e9 else f"{value / 1e6:.0f} MB"
    return Cell(size, value)


def duration(value: float) -> str:
    """Seconds for people."""
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def mark_best(rows: Sequence[Sequence[Cell]], columns: Iterable[int]) -> list[list[Cell]]:
    """The same rows, the largest value of each column marked best and the next one second.

    Values that are equal to four digits, as the cells show them, share a mark.
    """
    marked = [list(row) for row in rows]
    for place in columns:
        values = [row[place].value for row in rows]
        shown = [round(value, 4) if isinstance(value, float) else None for value in values]
        order = sorted({value for value in shown if value is not None}, reverse=True)
        for value, mark in zip(order, ("best", "second"), strict=False):
            for row, own in zip(marked, shown, strict=True):
                if own == value:
                    row[place] = row[place]._replace(mark=mark)
    return marked
