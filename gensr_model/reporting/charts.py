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
_MARKED = 24  # points up to which each is marked


@dataclass(frozen=True)
class Series:
    """A line: (x, y) points and the number of its colour, from 1; ``faint`` lines carry no name."""

    name: str
    points: Sequence[tuple[float, float]]
    color: int
    faint: bool = False


@dataclass(frozen=True)
class Interval:
    """A mean between bounds; ``verdict`` is good, bad or open and gives its colour."""

    name: str
    mean: float
    low: float
    high: float
    verdict: str


@dataclass(frozen=True)
class Figure:
    """An SVG element as text, what it shows, and how to read it."""

    svg: str
    title: str
    note: str = ""


class _Scale:
    """Data values to places along an axis, with round ticks inside."""

    def __init__(self, low: float, high: float, start: float, end: float, ticks: int) -> None:
        if high <= low:
            pad = abs(low) * 0.1 or 1.0
            low, high = low - pad, high + pad
        self.low, self.high, self.start, self.end = low, high, start, end
        found = MaxNLocator(nbins=ticks, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
        self.ticks = [float(t) for t in found if low - 1e-9 <= t <= high + 1e-9]

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
) -> str:
    """Lines over steps, with a legend above; ``zero`` draws the line y = 0. ValueError without a point."""
    xs = [x for line in series for x, _ in line.points]
    ys = [y for line in series for _, y in line.points]
    if not xs:
        raise ValueError(f"nothing to draw: {title}")
    low, high = y_range or _padded(ys)
    x = _Scale(min([0.0, *xs]), max(xs), _LEFT, _WIDTH - _RIGHT, 5)
    y = _Scale(low, high, _HEIGHT - _BOTTOM, _TOP, 5)
    svg = _svg(_WIDTH, _HEIGHT, title)
    for tick in y.ticks:
        _line(svg, _LEFT, y(tick), _WIDTH - _RIGHT, y(tick), "grid")
        _text(svg, _LEFT - 7, y(tick) + 4, y.label(tick), "end")
    for tick in x.ticks:
        _text(svg, x(tick), _HEIGHT - _BOTTOM + 17, x.label(tick), "middle")
    _text(svg, (_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 6, x_label, "middle", "axis")
    if zero and low < 0 < high:
        _line(svg, _LEFT, y(0), _WIDTH - _RIGHT, y(0), "zero")
    for line in series:
        _draw(svg, line, x, y)
    _legend(svg, [line for line in series if not line.faint])
    return ElementTree.tostring(svg, encoding="unicode")


def interval_chart(title: str, rows: Sequence[Interval], x_label: str) -> str:
    """A row per interval, with the line x = 0. ValueError without a row."""
    if not rows:
        raise ValueError(f"nothing to draw: {title}")
    left = 116.0
    bottom = 12 + _ROW * len(rows)
    low, high = _padded([0.0, *(v for row in rows for v in (row.low, row.high))])
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
        said = f"{row.name}: {row.mean:+.4f} [{row.low:+.4f}, {row.high:+.4f}]"
        ElementTree.SubElement(group, "title").text = said
        _line(group, x(row.low), y, x(row.high), y, "bar")
        for end in (row.low, row.high):
            _line(group, x(end), y - 4, x(end), y + 4, "bar")
        place = {"cx": f"{x(row.mean):.1f}", "cy": f"{y:.1f}", "r": "4.5"}
        ElementTree.SubElement(group, "circle", place)
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
    group = ElementTree.SubElement(svg, "g", {"class": f"c{line.color}" + " faint" * line.faint})
    if not line.faint:
        ElementTree.SubElement(group, "title").text = line.name
    path = " ".join(f"{a:.1f},{b:.1f}" for a, b in places)
    ElementTree.SubElement(group, "polyline", {"points": path})
    if len(places) <= _MARKED and not line.faint:
        for a, b in places:
            ElementTree.SubElement(group, "circle", {"cx": f"{a:.1f}", "cy": f"{b:.1f}", "r": "3"})


def _legend(svg: ElementTree.Element, lines: Sequence[Series]) -> None:
    place = _LEFT
    for line in lines:
        group = ElementTree.SubElement(svg, "g", {"class": f"c{line.color}"})
        _line(group, place, 11, place + 16, 11, "key")
        _text(svg, place + 21, 15, line.name, "start", "name")
        place += 37 + 6.6 * len(line.name)


def _line(parent: ElementTree.Element, x1: float, y1: float, x2: float, y2: float, name: str) -> None:
    ends = {"x1": f"{x1:.1f}", "y1": f"{y1:.1f}", "x2": f"{x2:.1f}", "y2": f"{y2:.1f}"}
    ElementTree.SubElement(parent, "line", {"class": name, **ends})


def _text(
    parent: ElementTree.Element, x: float, y: float, words: str, anchor: str, name: str = "tick"
) -> None:
    place = {"class": name, "x": f"{x:.1f}", "y": f"{y:.1f}", "text-anchor": anchor}
    ElementTree.SubElement(parent, "text", place).text = words
