"""``report.html`` in a real browser; skipped where there is none.

With GENSR_PICTURES=folder it leaves screenshots there, to be looked at.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from browser import Tab, browser
from tiny_run import Finished

TABLE = "document.querySelector('#table-results-search')"


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with browser(tmp_path_factory.mktemp("browser")) as result:
        yield result


@pytest.fixture(scope="module")
def page(finished: Callable[[str], Finished]) -> Path:
    return finished("amazon").home / "runs" / "latest" / "report.html"


def column(tab: Tab, place: int) -> list[str]:
    result: list[str] = tab.evaluate(f"[...{TABLE}.tBodies[0].rows].map(row => row.cells[{place}].textContent)")
    return result


def test_it_loads_in_silence_and_asks_for_nothing_else(tab: Tab, page: Path) -> None:
    tab.requests.clear()
    tab.open(page)
    assert tab.complaints == []
    assert [r for r in tab.requests if not r.startswith("data:")] == [page.as_uri()]
    assert tab.evaluate("document.querySelectorAll('thead button').length") > 10


def test_every_figure_has_a_size_and_something_in_it(tab: Tab, page: Path) -> None:
    tab.open(page)
    size = "s => { const b = s.getBBox(); return [b.width, b.height, s.clientHeight] }"
    sizes = tab.evaluate(f"[...document.querySelectorAll('svg')].map({size})")
    assert len(sizes) >= 7
    assert all(min(size) > 40 for size in sizes)
    marks = "s => [...s.querySelectorAll('polyline, circle')].filter(m => m.getBBox().width > 0).length"
    assert min(tab.evaluate(f"[...document.querySelectorAll('svg')].map({marks})")) > 0, "axes alone are no figure"


def test_the_page_of_every_study_has_all_sections_and_the_picture_is_in_the_file(tab: Tab, page: Path) -> None:
    tab.look(390)
    tab.open(page)
    result = tab.evaluate("[...document.querySelectorAll('section[id]')].map(s => s.id)")
    assert result == ["short", "results", "segments", "systems", "full", "ablation", "sweep", "mechanisms", "claims",
                      "examples", "failed", "data", "checks", "check", "training", "speed", "run"]  # fmt: skip
    (size,) = tab.evaluate("[...document.images].map(i => [i.naturalWidth, i.complete, i.clientHeight])")
    assert size[0] > 1_000
    assert size[1]
    assert size[2] > 100
    drawn = "['systems', 'full', 'ablation', 'sweep'].map(s => document.querySelectorAll(`#${s} svg`).length)"
    assert tab.evaluate(drawn) == [1, 2, 2, 2]


@pytest.mark.parametrize("name", ["systems-search", "systems-verdicts", "full-search", "ablation-table", "sweep-table"])
def test_tables_of_studies_are_sorted_from_the_keyboard(tab: Tab, page: Path, name: str) -> None:
    tab.look(1280)
    tab.open(page)
    table = f"document.querySelector('#table-{name}')"
    place = tab.evaluate(f"[...{table}.tHead.rows[0].cells].findIndex(c => c.classList.contains('num'))")
    tab.evaluate(f"{table}.tHead.rows[0].cells[{place}].firstChild.focus()")
    values = f"[...{table}.tBodies[0].rows].map(r => r.cells[{place}].dataset.value).filter(v => v).map(Number)"
    tab.press("Enter", 13, "\r")
    falling = tab.evaluate(values)
    assert len(falling) > 1
    assert falling == sorted(falling, reverse=True)
    tab.press("Enter", 13, "\r")
    assert tab.evaluate(values) == sorted(falling)


def test_no_name_in_a_figure_is_cut_off_or_runs_into_another(tab: Tab, page: Path) -> None:
    tab.look(1280)
    tab.open(page)
    edges = """[...document.querySelectorAll('svg')].flatMap(svg => {
      const [, , width, height] = svg.getAttribute('viewBox').split(' ').map(Number);
      const boxes = [...svg.querySelectorAll('text')].map(t => [t.textContent, t.getBBox()]);
      const hit = ([, a], [, b]) =>
        a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;
      const cut = boxes.filter(([, b]) => b.x < 0 || b.x + b.width > width || b.y + b.height > height);
      const over = boxes.filter((a, n) => boxes.slice(n + 1).some(b => hit(a, b)));
      return [...cut, ...over].map(([words]) => `${svg.getAttribute('aria-label')}: ${words}`);
    })"""
    assert tab.evaluate(edges) == []


def test_a_table_is_sorted_from_the_keyboard(tab: Tab, page: Path) -> None:
    tab.look(1280)
    tab.open(page)
    written = column(tab, 0)
    assert written[0] == "GenSR"
    tab.evaluate(f"{TABLE}.closest('.scroll').focus()")
    tab.press("Tab", 9)  # the head "Model"
    assert tab.evaluate("document.activeElement.textContent") == "Model"
    for _ in range(6):
        tab.press("Tab", 9)
    assert tab.evaluate("document.activeElement.textContent") == "N@10"
    tab.press("Enter", 13, "\r")
    values = [float(v) for v in column(tab, 6)]
    assert values == sorted(values, reverse=True)
    assert tab.evaluate("document.activeElement.parentElement.getAttribute('aria-sort')") == "descending"
    tab.press(" ", 32, " ")
    values = [float(v) for v in column(tab, 6)]
    assert values == sorted(values)
    assert tab.evaluate(f"[...{TABLE}.tHead.rows[0].cells].filter(c => c.hasAttribute('aria-sort')).length") == 1
    tab.evaluate(f"{TABLE}.tHead.rows[0].cells[9].firstChild.click()")  # GenSR − it: GenSR's own row has none
    assert column(tab, 0)[-1] == "GenSR"
    signed = [float(v.replace("−", "-")) for v in column(tab, 9)[:-1]]
    assert signed == sorted(signed, reverse=True)
    tab.evaluate(f"{TABLE}.tHead.rows[0].cells[0].firstChild.click()")
    assert column(tab, 0) == sorted(written, key=str.casefold)


def test_the_four_answers_are_on_the_first_screen_of_a_laptop(tab: Tab, page: Path) -> None:
    tab.look(1280)
    tab.open(page)
    ends = tab.evaluate("[...document.querySelectorAll('#short .card')].map(c => c.getBoundingClientRect().bottom)")
    assert len(ends) == 4
    assert max(ends) <= 900


@pytest.mark.parametrize("width", [390, 768, 1280])
def test_no_width_makes_the_page_scroll_sideways(tab: Tab, page: Path, width: int) -> None:
    tab.look(width)
    tab.open(page)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width


def test_every_table_fits_on_paper(tab: Tab, page: Path) -> None:
    """A4 is 718 pixels wide within the usual margins."""
    tab.open(page)
    tab.look(718, media="print")
    wide = tab.evaluate("[...document.querySelectorAll('table')].filter(t => t.scrollWidth > 718).map(t => t.id)")
    assert wide == []


def test_dark_is_dark_and_print_is_light(tab: Tab, page: Path) -> None:
    tab.open(page)
    seen = {}
    for name, dark, media in (("light", False, "screen"), ("dark", True, "screen"), ("print", True, "print")):
        tab.look(1280, dark, media)
        colors = tab.evaluate(
            "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
        )
        seen[name] = [sum(map(int, c.removeprefix("rgb(").rstrip(")").split(","))) for c in colors]
    assert seen["light"][0] > 700 > 200 > seen["light"][1]
    assert seen["dark"][0] < 200 < 600 < seen["dark"][1]
    assert seen["print"][0] > 700 > 100 > seen["print"][1]


@pytest.mark.skipif("GENSR_PICTURES" not in os.environ, reason="GENSR_PICTURES names no folder for screenshots")
@pytest.mark.parametrize(
    ("name", "width", "dark", "media"),
    [
        ("light", 1280, False, "screen"),
        ("dark", 1280, True, "screen"),
        ("phone", 390, False, "screen"),
        ("print", 718, False, "print"),
    ],
)
def test_pictures(tab: Tab, page: Path, name: str, width: int, dark: bool, media: str) -> None:
    tab.look(width, dark, media)
    tab.open(page)
    tab.picture(Path(os.environ["GENSR_PICTURES"]) / f"{name}.png")
