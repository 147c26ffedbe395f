"""Figures as inline SVG. They use the page's colors, so a figure is dark where the page is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axis import Axis
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, ScalarFormatter

from gensr_model.reporting.svg import NAMES, WIDTH, Drawing, Group

_HEIGHT = 230.0  # without the legend
_ROW, _CAP = 26.0, 0.16  # height of a row of ``interval_chart``, and what the ends of an interval reach of it
_LETTER, _KEY, _LEGEND_ROW = 7.4, 36.0, 18.0  # about how wide a letter of a name is, and what stands before the name
COLORS = 7  # of the style sheet, c1 to c7
_MARKED = 24  # points up to which each is marked


@dataclass(frozen=True)
class Series:
    """A line: (x, y) points and the number of its color, from 1. ``faint`` lines have no name in the legend.

    Above ``COLORS`` the colors begin again, with dashed lines, and then with dotted ones.
    """

    name: str
    points: Sequence[tuple[float, float]]
    color: int
    faint: bool = False

    @property
    def style(self) -> str:
        """The line's classes in the style sheet."""
        again, color = divmod(self.color - 1, COLORS)
        return f"c{color + 1}{('', ' dashed', ' dotted')[again]}"


@dataclass(frozen=True)
class Interval:
    """A mean between bounds. ``verdict`` is good, bad or open, and gives the color.

    ``reference`` is another source's number for the same quantity, drawn as a diamond.
    """

    name: str
    mean: float
    low: float
    high: float
    verdict: str
    reference: float | None = None


@dataclass(frozen=True)
class Figure:
    """A figure, as an SVG element or a picture, with its title and a note on how to read it.

    A ``wide`` figure fills a line.
    """

    svg: str
    title: str
    note: str = ""
    wide: bool = False


def line_chart(
    title: str,
    series: Sequence[Series],
    *,
    x_label: str = "training step",
    y_range: tuple[float, float] | None = None,
    zero: bool = False,
    places: Sequence[tuple[float, str]] = (),
    marked: float | None = None,
) -> str:
    """Lines with a legend above. Raises ValueError without a point.

    Args:
        zero: draw the line y = 0.
        places: ticks of x with their names; without them x is a number from 0 on.
        marked: an x to mark with a dashed line.
    """
    xs = [x for line in series for x, _ in line.points]
    ys = [y for line in series for _, y in line.points]
    if not xs:
        raise ValueError(f"nothing to draw: {title}")
    named = [line for line in series if not line.faint]
    rows = _legend_rows(named)
    drawing = Drawing(_HEIGHT + _LEGEND_ROW * rows)
    axes = drawing.axes
    axes.set_ylim(*(y_range or _padded(ys)))
    if places:
        axes.set_xlim(*_padded([at for at, _ in places]))
        axes.set_xticks([at for at, _ in places], [name for _, name in places])
    else:
        axes.set_xlim(min([0.0, *xs]), max(max(xs), 1e-9))
        _ticks(axes.xaxis)
    _ticks(axes.yaxis)
    low, high = axes.get_ylim()
    _across(drawing, [(tick, "grid") for tick in axes.get_yticks()] + ([(0.0, "zero")] if zero else []))
    drawing.words(axes.set_xlabel(x_label), "axis")
    if marked is not None:
        drawing.line([(marked, low), (marked, high)], "marked")
    for line in series:
        _draw(drawing, line)
    _legend(drawing, named, rows)
    return drawing.svg(title)


def interval_chart(title: str, rows: Sequence[Interval], x_label: str, digits: int = 4) -> str:
    """A row per interval, with the line x = 0. Raises ValueError without a row."""
    if not rows:
        raise ValueError(f"nothing to draw: {title}")
    drawing = Drawing(_ROW * len(rows) + 44)
    axes = drawing.axes
    references = [row.reference for row in rows if row.reference is not None]
    axes.set_xlim(*_padded([0.0, *references, *(value for row in rows for value in (row.low, row.high))]))
    axes.set_ylim(len(rows) - 0.5, -0.5)  # the first on top
    _ticks(axes.xaxis)
    axes.set_yticks(range(len(rows)), [row.name for row in rows])
    for label in axes.get_yticklabels():
        drawing.words(label, "name")
    _across(drawing, [*((tick, "grid") for tick in axes.get_xticks()), (0.0, "zero")], upright=True)
    drawing.words(axes.set_xlabel(x_label), "axis")
    for y, row in enumerate(rows):
        mean, low_end, high_end = (f"{value:+.{digits}f}" for value in (row.mean, row.low, row.high))
        group = Group(f"interval {row.verdict}", f"{row.name}: {mean} [{low_end}, {high_end}]")
        drawing.line([(row.low, y), (row.high, y)], "bar", group)
        for end in (row.low, row.high):
            drawing.line([(end, y - _CAP), (end, y + _CAP)], "bar", group)
        drawing.dots([(row.mean, y)], group, 4.5)
        if row.reference is not None:
            drawing.diamond(row.reference, y, "reference")
    return drawing.svg(title)


def smooth(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Each y as the mean of its neighborhood: a fifteenth of the points to either side, fewer at the ends."""
    if not points:
        return []
    x, y = np.array(points, dtype=float).T
    width = max(1, len(y) // 15)
    means = [y[max(0, n - width) : n + width + 1].mean() for n in range(len(y))]
    return [(float(a), float(b)) for a, b in zip(x, means, strict=True)]


def _padded(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    pad = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    return low - pad, high + pad


def _ticks(axis: Axis) -> None:
    """At most six round numbers, written whole."""
    axis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]))
    written = ScalarFormatter(useOffset=False)
    written.set_scientific(False)
    axis.set_major_formatter(written)


def _across(drawing: Drawing, places: Sequence[tuple[float, str]], upright: bool = False) -> None:
    """Lines over the whole figure, of those places that are in it."""
    axes = drawing.axes
    (low, high), (start, end) = (axes.get_xlim(), axes.get_ylim()) if upright else (axes.get_ylim(), axes.get_xlim())
    for at, style in places:
        if low <= at <= high:
            drawing.line([(at, start), (at, end)] if upright else [(start, at), (end, at)], style)


def _draw(drawing: Drawing, line: Series) -> None:
    group = Group(line.style + " faint" * line.faint, line.name)
    drawing.line(line.points, group=group, shape="polyline")
    if len(line.points) <= _MARKED and not line.faint:
        drawing.dots(line.points, group, 3)


def _legend_rows(lines: Sequence[Series]) -> int:
    """As many entries in a row as fit; at least one row."""
    widest = max((_KEY + _LETTER * len(line.name) for line in lines), default=1.0)
    columns = max(1, min(len(lines), int((WIDTH - 10) // widest)))
    return -(-len(lines) // columns)


def _legend(drawing: Drawing, lines: Sequence[Series], rows: int) -> None:
    if not lines:
        return
    columns = -(-len(lines) // rows)
    lines = [line for column in range(columns) for line in lines[column::columns]]  # Matplotlib fills columns first
    keys = [Line2D([], [], label="name") for _ in lines]  # one that begins with _ would be left out
    legend = drawing.figure.legend(
        handles=keys, loc="outside upper left", ncols=columns, fontsize=NAMES, frameon=False, handlelength=1.4,
        columnspacing=1.0, borderpad=0.2, labelspacing=0.6,
    )  # fmt: skip
    for line, key, words in zip(lines, legend.get_lines(), legend.get_texts(), strict=True):
        drawing.mark(key, "line", "key", Group(line.style))
        words.set_text(line.name)
        drawing.words(words, "name")
