"""Data Docs open from disk without a network: nothing remote is loaded, and the index leads to every page."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from expectations import audits, raw_reading
from tasks.validate.ge_runner import Check, examine


class Page(HTMLParser):
    """What a page loads, where its links lead, and its text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.links: list[str] = []
        self.styles = ""
        self.text = ""
        self._tag = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self._tag = tag
        given = {name: value or "" for name, value in attributes}
        if tag in {"link", "script", "img", "iframe", "source", "object", "embed"}:
            self.loaded.append(given.get("src") or given.get("href") or given.get("data") or tag)
        elif tag == "a":
            self.links.append(given.get("href", ""))

    def handle_data(self, data: str) -> None:
        if self._tag == "style":
            self.styles += data
        else:
            self.text += f"{data} "

    def handle_endtag(self, tag: str) -> None:
        self._tag = ""


@pytest.fixture(scope="module")
def docs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One suite that passes and one of which an expectation fails."""
    out = tmp_path_factory.mktemp("docs")
    good = Check(raw_reading.suite(), pd.DataFrame([{"read": 3, "accounted": 3}]))
    rules = {"first": "no row of the first kind", "second": "no row of the second kind"}
    bad = Check(audits.suite(rules), pd.DataFrame([{"first": 0, "second": 7}]))
    result = examine([good, bad], out)
    assert (result.expectations, len(result.failures)) == (3, 1)
    return out / "data_docs"


def test_no_page_loads_anything(docs: Path) -> None:
    pages = list(docs.rglob("*.html"))
    assert len(pages) == 5
    for path in pages:
        page = Page(path)
        assert page.loaded == [], path
        assert page.styles.count("{") > 5, path
        assert "//" not in page.styles.replace("/*//", ""), path
        assert "@import" not in page.styles, path
    assert {path.suffix for path in docs.rglob("*") if path.is_file()} == {".html"}


def test_every_local_link_leads_somewhere_and_the_index_to_every_suite(docs: Path) -> None:
    for path in docs.rglob("*.html"):
        for link in Page(path).links:
            if link and not link.startswith(("#", "http")):
                assert (path.parent / link.split("#")[0]).resolve().is_file(), (path, link)
    index = Page(docs / "index.html")
    assert len(index.links) == 4
    cells = index.text.split()
    assert cells[cells.index("raw_reading") :][:4] == ["raw_reading", "passed", "1", "0"]
    assert cells[cells.index("audits") :][:4] == ["audits", "failed", "2", "1"]


def test_a_failing_page_says_what_was_expected_and_found(docs: Path) -> None:
    (path,) = (docs / "validations" / "audits").rglob("*.html")
    page = Page(path)
    assert "no row of the second kind" in Page(docs / "index.html").text
    assert "no row of the second kind" in Page(docs / "expectations" / "audits.html").text
    assert "1 unexpected values found" in " ".join(page.text.split())
    assert "Unsuccessful Expectations" in page.text
    assert "fa-times::before" in page.styles
