"""Figures as inline SVG. Colours are the page's own, so a figure is dark where the page is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

import numpy as np
from matplotlib.ticker import MaxNLocator

_WIDTH, _HEIGHT = 400.0, 250.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 52.0, 12.0, 26.0, 40.0
_ROW = 26.0  # height of a row of ``interval_chart``
_LETTER, _LEGEND_ROW = 6.9, 17.0  # about how wide a letter of a name is; height of a row of the legend
COLORS = 7  # of the style sheet, c1 to c7
_MARKED = 24  # points up to which each is marked


@dataclass(frozen=True)
class Series:
    """A line: (x, y) points and the number of its colour, from 1; ``faint`` lines carry no name.

    Above ``COLORS`` the colours begin again, with dashed lines, and then with dotted ones.
    """

    name: str
    points: Sequence[tuple[float, float]]
    color: int
    faint: bool = False

    @property
    def style(self) -> str:
        """Its classes in the style sheet."""
        again, color = divmod(self.color - 1, COLORS)
        return f"c{color + 1}{('', ' dashed', ' dotted')[again]}"


@dataclass(frozen=True)
class Interval:
    """A mean between bounds; ``verdict`` is good, bad or open and gives its colour.

    ``reference`` is another's number for the same, drawn as a diamond.
    """

    name: str
    mean: float
    low: float
    high: float
    verdict: str
    reference: float | None = None


@dataclass(frozen=True)
class Figure:
    """An SVG element, or a picture, as text, what it shows, and how to read it; a ``wide`` one fills a line."""

    svg: str
    title: str
    note: str = ""
    wide: bool = False


class _Scale:
    """Data values to places along an axis, with round ticks inside."""

    def __init__(self, low: float, high: float, start: float, end: float, ticks: int) -> None:
        if high <= low:
            pad = abs(low) * 0.1 or 1.0
            low, high = low - pad, high + pad
        self.low, self.high, self.start, self.end = low, high, start, end
        places = MaxNLocator(nbins=ticks, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
        self.ticks = [float(t) for t in places if low - 1e-9 <= t <= high + 1e-9]

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def label(self, tick: float) -> str:
        step = self.ticks[1] - self.ticks[0] if len(self.ticks) > 1 else 1.0
        digits = max(0, -math.floor(math.log10(step) + 1e-9))
        digits += int(not math.isclose(round(step, digits), step, rel_tol=1e-6))  # steps of 0.25
        return f"{tick:,.{digits}f}".replace("-", "−")


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
    """Lines with a legend above. ValueError without a point.

    Args:
        zero: draw the line y = 0.
        places: ticks of x with their names; without them x is a number from 0 on.
        marked: an x that a dashed line marks.
    """
    xs = [x for line in series for x, _ in line.points]
    ys = [y for line in series for _, y in line.points]
    if not xs:
        raise ValueError(f"nothing to draw: {title}")
    named = [line for line in series if not line.faint]
    rows = _legend_rows(named)
    top = _TOP + _LEGEND_ROW * (len(rows) - 1)
    bottom = top + _HEIGHT - _TOP - _BOTTOM
    low, high = y_range or _padded(ys)
    if places:
        x = _Scale(*_padded([at for at, _ in places]), _LEFT, _WIDTH - _RIGHT, 5)
    else:
        x = _Scale(min([0.0, *xs]), max(xs), _LEFT, _WIDTH - _RIGHT, 5)
    y = _Scale(low, high, bottom, top, 5)
    svg = _svg(_WIDTH, bottom + _BOTTOM, title)
    for tick in y.ticks:
        _line(svg, _LEFT, y(tick), _WIDTH - _RIGHT, y(tick), "grid")
        _text(svg, _LEFT - 7, y(tick) + 4, y.label(tick), "end")
    for at, name in places or [(tick, x.label(tick)) for tick in x.ticks]:
        _text(svg, x(at), bottom + 17, name, "middle")
    _text(svg, (_LEFT + _WIDTH - _RIGHT) / 2, bottom + 34, x_label, "middle", "axis")
    if zero and low < 0 < high:
        _line(svg, _LEFT, y(0), _WIDTH - _RIGHT, y(0), "zero")
    if marked is not None:
        _line(svg, x(marked), top, x(marked), bottom, "marked")
    for line in series:
        _draw(svg, line, x, y)
    _legend(svg, rows)
    return ElementTree.tostring(svg, encoding="unicode")


def interval_chart(title: str, rows: Sequence[Interval], x_label: str, digits: int = 4) -> str:
    """A row per interval, with the line x = 0. ValueError without a row."""
    if not rows:
        raise ValueError(f"nothing to draw: {title}")
    left = max(116.0, 22 + _LETTER * max(len(row.name) for row in rows))
    bottom = 12 + _ROW * len(rows)
    references = [row.reference for row in rows if row.reference is not None]
    low, high = _padded([0.0, *references, *(v for row in rows for v in (row.low, row.high))])
    x = _Scale(low, high, left, _WIDTH - _RIGHT, 5)
    svg = _svg(_WIDTH, bottom + 40, title)
    for tick in x.ticks:
        _line(svg, x(tick), 8, x(tick), bottom, "grid")
        _text(svg, x(tick), bottom + 16, x.label(tick), "middle")
    _line(svg, x(0), 8, x(0), bottom, "zero")
    _text(svg, (left + _WIDTH - _RIGHT) / 2, bottom + 34, x_label, "middle", "axis")
    for number, row in enumerate(rows):
        y = 12 + _ROW * (number + 0.5)
        _text(svg, left - 10, y + 4, row.name, "end", "name")
        group = ElementTree.SubElement(svg, "g", {"class": f"interval {row.verdict}"})
        mean, low_end, high_end = (f"{value:+.{digits}f}" for value in (row.mean, row.low, row.high))
        caption = f"{row.name}: {mean} [{low_end}, {high_end}]"
        ElementTree.SubElement(group, "title").text = caption
        _line(group, x(row.low), y, x(row.high), y, "bar")
        for end in (row.low, row.high):
            _line(group, x(end), y - 4, x(end), y + 4, "bar")
        place = {"cx": f"{x(row.mean):.1f}", "cy": f"{y:.1f}", "r": "4.5"}
        ElementTree.SubElement(group, "circle", place)
        if row.reference is not None:
            a = x(row.reference)
            points = f"{a - 5:.1f},{y:.1f} {a:.1f},{y - 5:.1f} {a + 5:.1f},{y:.1f} {a:.1f},{y + 5:.1f}"
            ElementTree.SubElement(svg, "polygon", {"class": "reference", "points": points})
    return ElementTree.tostring(svg, encoding="unicode")


def smooth(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Each y as the mean of its neighbourhood, a fifteenth of the points to either side, fewer at the ends."""
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


def _svg(width: float, height: float, title: str) -> ElementTree.Element:
    attributes = {"viewBox": f"0 0 {width:g} {height:g}", "role": "img", "aria-label": title}
    return ElementTree.Element("svg", attributes)


def _draw(svg: ElementTree.Element, line: Series, x: _Scale, y: _Scale) -> None:
    places = [(x(a), y(b)) for a, b in line.points]
    group = ElementTree.SubElement(svg, "g", {"class": line.style + " faint" * line.faint})
    if not line.faint:
        ElementTree.SubElement(group, "title").text = line.name
    path = " ".join(f"{a:.1f},{b:.1f}" for a, b in places)
    ElementTree.SubElement(group, "polyline", {"points": path})
    if len(places) <= _MARKED and not line.faint:
        for a, b in places:
            ElementTree.SubElement(group, "circle", {"cx": f"{a:.1f}", "cy": f"{b:.1f}", "r": "3"})


def _legend_rows(lines: Sequence[Series]) -> list[list[Series]]:
    """As many in a row as fit; at least one row."""
    rows: list[list[Series]] = [[]]
    used = _LEFT
    for line in lines:
        if rows[-1] and used + _legend_width(line) > _WIDTH:
            rows.append([])
            used = _LEFT
        rows[-1].append(line)
        used += _legend_width(line)
    return rows


def _legend_width(line: Series) -> float:
    return 37 + _LETTER * len(line.name)


def _legend(svg: ElementTree.Element, rows: Sequence[Sequence[Series]]) -> None:
    for number, lines in enumerate(rows):
        place, y = _LEFT, 11 + _LEGEND_ROW * number
        for line in lines:
            group = ElementTree.SubElement(svg, "g", {"class": line.style})
            _line(group, place, y, place + 16, y, "key")
            _text(svg, place + 21, y + 4, line.name, "start", "name")
            place += _legend_width(line)


def _line(parent: ElementTree.Element, x1: float, y1: float, x2: float, y2: float, name: str) -> None:
    ends = {"x1": f"{x1:.1f}", "y1": f"{y1:.1f}", "x2": f"{x2:.1f}", "y2": f"{y2:.1f}"}
    ElementTree.SubElement(parent, "line", {"class": name, **ends})


def _text(parent: ElementTree.Element, x: float, y: float, words: str, anchor: str, name: str = "tick") -> None:
    place = {"class": name, "x": f"{x:.1f}", "y": f"{y:.1f}", "text-anchor": anchor}
    ElementTree.SubElement(parent, "text", place).text = words
