"""The documentation as a site: it has every page, its links lead somewhere, and it fetches nothing from the network."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from browser import browser
from parsed import Parsed
from prose import ROOT, pages

CONFIG = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
# Addresses in the theme's script. It asks for the first four where a page has a Mermaid diagram, a browser is older
# than 2020, or the site names a repository. The others are links of licences and messages.
NOT_ASKED = (
    "unpkg.com/mermaid@",
    "${e}/api/v4/",
    "unpkg.com/resize-observer-polyfill",
    "api.github.com/",
    "www.w3.org/",
    "bit.ly/",
)
LICENCES = ("clipboardjs.com", "lunrjs.com", "tartarus.org")
FETCHED = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "object": "data",
    "video": "src",
    "use": "href",
}


SEARCH = """{
  document.querySelector("label[for=__search]").click();
  const box = document.querySelector(".md-search__input");
  box.focus();
  box.value = "frozen candidates";
  box.dispatchEvent(new KeyboardEvent("keyup", {bubbles: true}));
}"""


def entries(nav: Any) -> Iterator[str]:
    """The pages of the navigation in their order."""
    for entry in nav if isinstance(nav, list) else nav.values():
        yield from [entry] if isinstance(entry, str) else entries(entry)


def test_every_page_is_in_the_navigation() -> None:
    there = {path.relative_to(ROOT / "docs").as_posix() for path in pages() if ROOT / "docs" in path.parents}
    named = list(entries(CONFIG["nav"]))
    assert len(named) == len(set(named))
    assert there - set(named) == set(), "name it under nav in mkdocs.yml"
    assert set(named) - there == set(), "the navigation names a page that is not there"


def build(folder: Path, config: Path = ROOT / "mkdocs.yml") -> subprocess.CompletedProcess[str]:
    """As `make docs` builds; with --quiet as well, MkDocs counts no warning and --strict means nothing."""
    assert "-m mkdocs build --strict\n" in (ROOT / "Makefile").read_text(encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "--config-file",
        str(config),
        "--site-dir",
        str(folder),
    ]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, encoding="utf-8", check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, which takes seconds to build."""
    folder = tmp_path_factory.mktemp("site")
    result = build(folder)
    assert result.returncode == 0, result.stderr
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("link", ["nothing.md", "index.md#nowhere", "/index.md", ""])
def test_a_link_that_leads_nowhere_stops_the_build(link: str, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text(f"# Page\n\n[a link]({link or '#page'})\n", encoding="utf-8")
    config = f"INHERIT: {ROOT / 'mkdocs.yml'}\ndocs_dir: {tmp_path / 'docs'}\nnav: [index.md]\nplugins: []\n"
    (tmp_path / "mkdocs.yml").write_text(config + f"hooks: [{ROOT / CONFIG['hooks'][0]}]\n", encoding="utf-8")
    result = build(tmp_path / "site", tmp_path / "mkdocs.yml")
    assert (result.returncode != 0) == bool(link), result.stderr


def fetched(page: Parsed) -> Iterator[str]:
    """The addresses that a browser asks for as it shows a page."""
    for tag, attributes in page.tags:
        if tag == "link" and not {"next", "prev", "canonical"} & set((attributes["rel"] or "").split()):
            yield attributes["href"] or ""
        elif tag in FETCHED and (address := attributes.get(FETCHED[tag])):
            yield address


def is_external(address: str) -> bool:
    return bool(re.match(r"(?:[a-z]+:)?//", address.strip()))


@pytest.mark.slow
def test_no_page_fetches_an_external_address(site: Path) -> None:
    html = sorted(site.rglob("*.html"))
    assert len(html) > len(pages()) - 3
    for path in html:
        page = Parsed(path.read_text(encoding="utf-8"))
        addresses = list(fetched(page))
        assert any(address.endswith(".css") for address in addresses), "the test finds no style sheet"
        assert [address for address in addresses if is_external(address)] == [], path
        assert "mermaid" not in path.read_text(encoding="utf-8"), "the theme would fetch Mermaid"


@pytest.mark.slow
def test_no_style_or_script_fetches_an_external_address(site: Path) -> None:
    styles = [text for path in site.rglob("*.css") for text in [path.read_text(encoding="utf-8")]]
    imported = [address for text in styles for address in re.findall(r"(?:url\(|@import\s+)[\"']?([^\"')]+)", text)]
    assert [address for address in imported if is_external(address)] == []
    loaded = [path for path in site.rglob("*.js") if not {"lunr", "search"} & set(path.parts)]  # other languages; texts
    assert len(loaded) == 3, "the theme's script, its search, and ours"
    named = {
        link for path in loaded for link in re.findall(r"https?://([^\s\"'`)]+)", path.read_text(encoding="utf-8"))
    }
    assert [address for address in named if not address.startswith(NOT_ASKED + LICENCES)] == []


@pytest.mark.slow
def test_equations_are_drawn_and_links_out_of_docs_are_text(site: Path) -> None:
    page = (site / "concepts" / "gensr.html").read_text(encoding="utf-8")
    assert page.count("<math") == page.count("</math>") == 9
    assert "\\frac" not in page
    html = "".join(path.read_text(encoding="utf-8") for path in site.rglob("*.html"))
    assert "dataset_format.py" in html, "a page names a file of the repository"
    assert 'dataset_format.py"' not in html, "and the site has no link to it"


@pytest.mark.slow
def test_the_search_works_from_disk(site: Path, tmp_path: Path) -> None:
    with browser(tmp_path) as tab:
        tab.look(1200)
        tab.open(site / "index.html")
        tab.evaluate(SEARCH)
        for _ in range(100):
            found = tab.evaluate("[...document.querySelectorAll('.md-search-result__link')].map(a => a.href)")
            if found:
                break
            time.sleep(0.2)
        assert any("protocol.html#frozen-candidates" in link for link in found)
        assert all(request.startswith(("file:", "data:")) for request in tab.requests)
        assert tab.complaints == []


@pytest.mark.parametrize(("address", "external"), [("https://a.b/c", True), ("//a.b/c", True), ("../a//b.css", False)])
def test_what_is_an_external_address(address: str, external: bool) -> None:
    assert is_external(address) == external
