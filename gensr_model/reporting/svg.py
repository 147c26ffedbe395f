"""Matplotlib's drawing as a small SVG element: the page's style sheet gives colours, so a dark page has dark figures.

Matplotlib lays out: scales, ticks, labels, legend. What it draws is written again with classes instead of colours.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple
from xml.etree import ElementTree

import matplotlib
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text

WIDTH = 400.0
_SVG = "{http://www.w3.org/2000/svg}"
_TICKS, NAMES = 11, 12  # sizes of letters, as the style sheet has them
_NUMBERS = re.compile(r"-?\d+(?:\.\d+)?")


class Group(NamedTuple):
    """Marks that belong together: a class of the style sheet, and words that a pointer shows."""

    style: str
    title: str = ""


class _Mark(NamedTuple):
    shape: str  # line, polyline, circle or polygon; or text
    style: str
    group: Group | None


class Drawing:
    """One figure: ``axes`` is Matplotlib's, the methods add marks that ``svg`` writes. Other marks are left out."""

    def __init__(self, height: float) -> None:
        self.figure = Figure(figsize=(WIDTH / 72, height / 72), dpi=72, layout="constrained")
        FigureCanvasSVG(self.figure)
        self.axes: Axes = self.figure.subplots()
        self.axes.set_frame_on(False)
        self.axes.tick_params(length=0, labelsize=_TICKS)
        self._marks: dict[str, _Mark] = {}

    def mark(self, artist: Artist, shape: str, style: str = "", group: Group | None = None) -> None:
        """Let ``svg`` write what Matplotlib draws of an artist."""
        name = f"mark{len(self._marks)}"
        artist.set_gid(name)
        self._marks[name] = _Mark(shape, style, group)

    def words(self, text: Text, style: str) -> None:
        """The same of words, as they are: a title is no formula."""
        text.set_parse_math(False)
        text.set_fontsize(NAMES if style == "name" else _TICKS)
        self.mark(text, "text", style)

    def line(
        self, points: Sequence[tuple[float, float]], style: str = "", group: Group | None = None, shape: str = "line"
    ) -> Line2D:
        (line,) = self.axes.plot([x for x, _ in points], [y for _, y in points], clip_on=False)
        line.get_path().should_simplify = False
        self.mark(line, shape, style, group)
        return line

    def dots(self, points: Sequence[tuple[float, float]], group: Group, radius: float) -> None:
        (line,) = self.axes.plot(
            [x for x, _ in points], [y for _, y in points], "o", markersize=2 * radius, clip_on=False
        )
        self.mark(line, "circle", f"{radius:g}", group)

    def diamond(self, x: float, y: float, style: str) -> None:
        (line,) = self.axes.plot([x], [y], "D", markersize=7, clip_on=False)
        self.mark(line, "polygon", style)

    def svg(self, title: str) -> str:
        """The element, with ``title`` for those who do not see it."""
        out = io.StringIO()
        with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "gensr"}), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing from font")  # the reader's browser has other fonts
            self.figure.savefig(out, format="svg", metadata={"Date": None})
        source = ElementTree.fromstring(out.getvalue())
        width, height = (float(source.attrib[side].removesuffix("pt")) for side in ("width", "height"))
        attributes = {"viewBox": f"0 0 {width:g} {height:g}", "role": "img", "aria-label": title}
        made = ElementTree.Element("svg", attributes)
        groups: dict[Group, ElementTree.Element] = {}
        for each in source.iter(f"{_SVG}g"):
            mark = self._marks.get(each.get("id", ""))
            if mark and mark.shape != "text":
                parent = made if mark.group is None else _group(made, groups, mark.group)
                _write(parent, mark, each)
            else:
                _write_texts(made, each, mark.style if mark else "tick")
        return ElementTree.tostring(made, encoding="unicode")


def _group(made: ElementTree.Element, groups: dict[Group, ElementTree.Element], wanted: Group) -> ElementTree.Element:
    if wanted not in groups:
        groups[wanted] = ElementTree.SubElement(made, "g", {"class": wanted.style})
        if wanted.title:
            ElementTree.SubElement(groups[wanted], "title").text = wanted.title
    return groups[wanted]


def _write(parent: ElementTree.Element, mark: _Mark, drawn: ElementTree.Element) -> None:
    """The marks of one artist."""
    style = {"class": mark.style} if mark.style and mark.shape != "circle" else {}
    uses = [(float(use.attrib["x"]), float(use.attrib["y"])) for use in drawn.iter(f"{_SVG}use")]
    if mark.shape == "circle":
        for x, y in uses:
            ElementTree.SubElement(parent, "circle", {"cx": f"{x:.1f}", "cy": f"{y:.1f}", "r": mark.style})
    elif mark.shape == "polygon":
        for x, y in uses:
            corners = ((x - 5, y), (x, y - 5), (x + 5, y), (x, y + 5))
            ElementTree.SubElement(parent, "polygon", style | {"points": _points(corners)})
    else:
        (path,) = drawn.iter(f"{_SVG}path")
        numbers = [float(number) for number in _NUMBERS.findall(path.attrib["d"])]
        points = list(zip(numbers[::2], numbers[1::2], strict=True))
        if mark.shape == "polyline":
            ElementTree.SubElement(parent, "polyline", style | {"points": _points(points)})
        else:
            (x1, y1), (x2, y2) = points[0], points[-1]
            ends: dict[str, Any] = {"x1": x1, "y1": y1, "x2": x2, "y2": y2}
            ElementTree.SubElement(parent, "line", style | {name: f"{value:.1f}" for name, value in ends.items()})


def _points(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _write_texts(made: ElementTree.Element, drawn: ElementTree.Element, style: str) -> None:
    """The words right below a group of Matplotlib's."""
    for text in drawn.findall(f"{_SVG}text"):
        anchor = re.search(r"text-anchor: (\w+)", text.get("style", ""))
        place = {"x": f"{float(text.attrib['x']):.1f}", "y": f"{float(text.attrib['y']):.1f}"}
        attributes = {"class": style, **place, "text-anchor": anchor[1] if anchor else "start"}
        ElementTree.SubElement(made, "text", attributes).text = text.text
