"""Figures of the report, from numbers worked out by hand."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from gensr_model.reporting.charts import Interval, Series, interval_chart, line_chart, smooth


def test_a_line_goes_through_its_points_from_left_to_right_and_up() -> None:
    svg = ElementTree.fromstring(line_chart("T", [Series("a", [(0, 0.0), (5, 0.5), (10, 1.0)], 1)]))
    (line,) = svg.iter("polyline")
    points = [tuple(map(float, p.split(","))) for p in line.attrib["points"].split()]
    assert points[1] == pytest.approx([(a + b) / 2 for a, b in zip(points[0], points[2], strict=True)], abs=0.1)
    assert points[0][0] < points[2][0]
    assert points[0][1] > points[2][1]
    ticks = [t.text for t in svg.iter("text") if t.get("text-anchor") == "end"]
    assert ticks == ["0.00", "0.25", "0.50", "0.75", "1.00"]


def test_an_interval_lies_between_its_ends_on_its_side_of_zero() -> None:
    svg = ElementTree.fromstring(interval_chart("T", [Interval("<b>", -0.1, -0.2, -0.05, "bad")], "x"))
    zero = next(float(line.attrib["x1"]) for line in svg.iter("line") if line.get("class") == "zero")
    bar = next(line for line in svg.iter("line") if line.get("class") == "bar")
    (circle,) = svg.iter("circle")
    assert float(bar.attrib["x1"]) < float(circle.attrib["cx"]) < float(bar.attrib["x2"]) < zero
    assert next(t.text for t in svg.iter("text") if t.get("class") == "name") == "<b>"


def test_a_legend_takes_as_many_rows_as_its_names_need() -> None:
    names = ["GenSR", "GenSR − semantic view", "GenSR − soft filter", "GenSR − contrastive"]
    svg = ElementTree.fromstring(line_chart("T", [Series(n, [(0, 0.0), (1, 1.0)], 1) for n in names]))
    result = {t.text: (float(t.attrib["x"]), float(t.attrib["y"])) for t in svg.iter("text") if t.text in names}
    assert set(result) == set(names)
    rows = [result[name][1] for name in names]
    assert len(set(rows)) == 2
    assert rows == sorted(rows)
    assert all(x + 7 * len(name) <= 400 for name, (x, _) in result.items())
    highest = min(float(p.split(",")[1]) for p in next(svg.iter("polyline")).attrib["points"].split())
    assert highest > max(rows), "no line runs through a name"


def test_a_name_is_shown_as_it_is_written() -> None:
    names = ["_mine", "$x^2$ & <b>", "東京"]
    charts = (line_chart("T", [Series(n, [(0, 0.0), (1, 1.0)], 1) for n in names]),
              interval_chart("T", [Interval(n, 0.1, 0.0, 0.2, "open") for n in names], "x"))  # fmt: skip
    for svg in map(ElementTree.fromstring, charts):
        assert {t.text for t in svg.iter("text") if t.get("class") == "name"} == set(names)


@pytest.mark.parametrize("points", [[(1.0, 0.3)], [(0.0, 5.0), (1.0, 5.0)]])
def test_a_single_or_constant_value_can_be_drawn(points: list[tuple[float, float]]) -> None:
    assert "nan" not in line_chart("T", [Series("a", points, 1)])


def test_nothing_to_draw_is_an_error_and_no_empty_picture() -> None:
    with pytest.raises(ValueError, match="nothing to draw: T"):
        line_chart("T", [Series("a", [], 1)])
    with pytest.raises(ValueError, match="nothing to draw: T"):
        interval_chart("T", [], "x")


def test_smoothing_keeps_length_and_constants() -> None:
    assert smooth([]) == []
    flat = [(float(n), 2.0) for n in range(40)]
    assert smooth(flat) == flat
    assert smooth([(0, 0.0), (1, 3.0), (2, 0.0)])[1] == (1.0, 1.0)
