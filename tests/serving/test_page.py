"""The page at ``/`` in a real browser, on a real server and a small model; skipped where there is no browser.

With GENSR_PICTURES=folder it leaves screenshots there, to be looked at.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote
from urllib.request import Request, urlopen

import pytest
import uvicorn
from browser import Tab, browser, chromium
from served_model import Folders, save_bundle

from gensr_model.serving.event_log import EventLog
from gensr_model.serving.http import server
from gensr_model.serving.http.app import create_app
from gensr_model.serving.http.versions import Versions

RESULTS = "[...document.querySelectorAll('#results > li')]"


class Site(NamedTuple):
    """A running server, the folder of its event log, and a tab."""

    address: str
    versions: Versions
    events: Path
    tab: Tab


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Versions 1 and 2 are GenSR, which retrieves; version 3 ranks the catalogue, and 4 is missing its files."""
    chromium()
    root = tmp_path_factory.mktemp("page")
    first, second = (save_bundle(root, seed=seed) for seed in (0, 1))
    full = save_bundle(root, "full_ranking", 3)
    source = Folders({"1": (first, None), "2": (second, None), "3": (first, full), "4": (root, None)}, "1")
    versions = Versions(source, source.load("1"))
    bound = server.bind("127.0.0.1", 0)
    app = create_app(versions, events=EventLog(root / "events"))
    running = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="on"))
    thread = threading.Thread(target=running.run, kwargs={"sockets": [bound]})
    thread.start()
    try:
        with browser(root / "browser") as tab:
            yield Site(server.address(bound), versions, root / "events", tab)
    finally:
        running.should_exit = True
        thread.join(20)
        bound.close()


@pytest.fixture
def tab(site: Site) -> Tab:
    """The page anew, on a desk."""
    site.tab.look(1280)
    site.tab.requests.clear()
    site.tab.complaints.clear()
    site.tab.open(f"{site.address}/")
    wait(site.tab, "document.querySelector('#version').options.length")
    return site.tab


def wait(tab: Tab, expression: str, seconds: float = 30) -> Any:
    """The first true value of an expression in the page."""
    deadline = time.monotonic() + seconds
    while not (value := tab.evaluate(expression)):
        assert time.monotonic() < deadline, f"{expression}\n{tab.evaluate('document.body.innerText')}"
        time.sleep(0.02)
    return value


def write(tab: Tab, field: str, text: str) -> None:
    """Type a text into an empty field."""
    tab.evaluate(f"document.querySelector('#{field}').focus()")
    tab.call("Input.insertText", text=text)


def click(tab: Tab, expression: str) -> None:
    """The mouse's left button on the middle of an element."""
    tab.evaluate(f"{expression}.scrollIntoView({{block: 'center'}})")
    box = tab.evaluate(
        f"(b => ({{x: b.x + b.width / 2, y: b.y + b.height / 2}}))({expression}.getBoundingClientRect())"
    )
    for kind in ("mousePressed", "mouseReleased"):
        tab.call("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **box)


def choose(tab: Tab, field: str, value: str) -> None:
    """Another option of a list."""
    tab.evaluate(
        f"(s => {{ s.value = '{value}'; s.dispatchEvent(new Event('change', {{bubbles: true}})) }})"
        f"(document.querySelector('#{field}'))"
    )


def show(tab: Tab) -> str:
    """Press the button; the status beside the results when they are there."""
    click(tab, "document.querySelector('button[type=submit]')")
    return answered(tab)


def answered(tab: Tab) -> str:
    done = "(s => !/^(Asking|Choose)/.test(s) && !document.querySelector('#results.busy') && s)"
    return str(wait(tab, f"{done}(document.querySelector('#status').textContent)"))


def shown(tab: Tab) -> list[dict[str, Any]]:
    """The results on the page: item, title, score and the rest of the text."""
    each = (
        "li => ({item: li.dataset.item, title: li.querySelector('.title').textContent, "
        "score: li.querySelector('.facts b').textContent, moved: li.querySelector('.moved')?.textContent, "
        "cells: [...li.querySelectorAll('.strip .cells')].map(s => s.children.length), "
        "marks: [...li.querySelectorAll('mark')].map(m => m.textContent), text: li.innerText})"
    )
    found: list[dict[str, Any]] = tab.evaluate(f"{RESULTS}.map({each})")
    return found


def expected(site: Site, path: str, **request: Any) -> dict[str, Any]:
    """The service's own answer."""
    body = json.dumps({"top_n": 10, "explain": True, **request}).encode()
    asked = Request(f"{site.address}/v1/{path}", body, {"Content-Type": "application/json"})
    with urlopen(asked, timeout=30) as answer:
        content: dict[str, Any] = json.load(answer)
    return content


def logged(site: Site, kind: str) -> list[dict[str, Any]]:
    """The documents of the event log."""
    files = sorted(site.events.glob(f"{kind}-*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]


def test_a_chosen_user_gets_titles_scores_and_the_weights_of_the_history(site: Site, tab: Tab) -> None:
    write(tab, "user", "u12")
    wait(tab, "[...document.querySelectorAll('#users option')].map(o => o.value).join() === 'u12'")
    status = show(tab)
    assert status.startswith("Recommendations, by version 1.")
    answer, found = expected(site, "recommendations", user="u12"), shown(tab)
    assert [one["item"] for one in found] == [item["id"] for item in answer["items"]]
    assert [one["title"] for one in found] == [item["title"] for item in answer["items"]]
    assert [float(one["score"]) for one in found] == pytest.approx([i["score"] for i in answer["items"]], abs=0.001)
    assert found[0]["cells"] == [len(answer["history"])] * 2, "a strip for each view, a cell for each event"
    weights, means = answer["items"][0]["explanation"]["filter"], Counter[str]()
    for event, by_behavior, by_text in zip(answer["history"], weights["cf"], weights["semantic"], strict=True):
        means[event["title"]] += (by_behavior + by_text) / 2
    (most, share), _ = means.most_common(2)
    assert f"Looked most at {most} ({100 * share:.0f}%)" in found[0]["text"]
    assert f"{len(answer['history'])} events" in tab.evaluate("document.querySelector('#past summary').textContent")
    assert tab.complaints == []
    picture(tab, "user")


def test_a_search_marks_its_words_and_a_click_opens_the_item_and_is_logged(site: Site, tab: Tab) -> None:
    write(tab, "user", "u3")
    write(tab, "query", "kitchen thing")
    assert show(tab).startswith("Results for “kitchen thing”")
    found = shown(tab)
    assert [one["item"] for one in found] == [
        item["id"] for item in expected(site, "search", user="u3", query="kitchen thing")["items"]
    ]
    assert any(one["marks"] == ["kitchen", "thing"] for one in found)
    click(tab, f"{RESULTS}[1].querySelector('.title')")
    wait(tab, f"{RESULTS}[1].querySelector('.about button') && !{RESULTS}[1].querySelector('.about').hidden")
    event = wait_for_click(site, found[1]["item"])
    (query,) = [one for one in logged(site, "queries") if one["query_id"] == event["query_id"]]
    assert (query["user_query"], query["user_id"], event["user_id"]) == ("kitchen thing", "u3", "u3")
    assert query["query_response_hit_ids"] == [one["item"] for one in found]
    assert event["event_attributes"]["position"]["ordinal"] == 2


def wait_for_click(site: Site, item: str) -> dict[str, Any]:
    deadline = time.monotonic() + 30
    while True:
        clicks = [one for one in logged(site, "events") if one["event_attributes"]["object"]["object_id"] == item]
        if clicks:
            assert clicks[-1]["action_name"] == "click"
            return clicks[-1]
        assert time.monotonic() < deadline, "no click is logged"
        time.sleep(0.05)


def test_a_history_is_built_from_words_by_the_keyboard_alone(site: Site, tab: Tab) -> None:
    tab.evaluate("document.querySelector('input[name=who]').focus()")
    tab.press("ArrowRight", 39)
    assert tab.evaluate("!document.querySelector('#by-history').hidden && document.querySelector('#by-user').hidden")
    tab.press("Tab", 9)
    assert tab.evaluate("document.activeElement.id") == "find"
    tab.call("Input.insertText", text="garden 5")
    wait(tab, "document.querySelectorAll('#matches button').length")
    tab.press("Enter", 13, "\r")
    assert tab.evaluate("document.querySelector('#results').children.length") == 0, "Enter in the field sends nothing"
    tab.press("Tab", 9)
    chosen = tab.evaluate("document.activeElement.textContent")
    tab.press("Enter", 13, "\r")
    tab.press("Enter", 13, "\r")
    built = tab.evaluate("[...document.querySelectorAll('#built span')].map(s => s.textContent)")
    assert built == [chosen] * 2
    for _ in range(40):
        tab.press("Tab", 9)
        if tab.evaluate("document.activeElement.type") == "submit":
            break
    tab.press("Enter", 13, "\r")
    assert "by version 1" in answered(tab)
    (item,) = {i["id"] for i in expected_items(site, chosen)}
    wanted = expected(site, "recommendations", history=[item, item])
    assert [one["item"] for one in shown(tab)] == [one["id"] for one in wanted["items"]]


def expected_items(site: Site, title: str) -> list[dict[str, Any]]:
    with urlopen(f"{site.address}/v1/items?limit=100&text={quote(title)}", timeout=30) as answer:
        return [item for item in json.load(answer)["items"] if item["title"] == title]


def test_two_versions_stand_beside_each_other_with_the_changes_of_rank(site: Site, tab: Tab) -> None:
    write(tab, "user", "u20")
    choose(tab, "other", "2")
    show(tab)
    places = {
        item["id"]: item["rank"]
        for item in expected(site, "recommendations", user="u20", version="2", top_n=100)["items"]
    }
    found = shown(tab)
    for rank, one in enumerate(found, 1):
        there = places.get(one["item"])
        words = "not in the first 100" if there is None else "the same place" if there == rank else f"place {there} in"
        assert words in one["moved"], one
        if there is not None and there != rank:
            assert f"{'▲' if there > rank else '▼'} {abs(there - rank)}" in one["moved"]
    gone = [item for item, rank in places.items() if rank <= 10 and item not in {one["item"] for one in found}]
    said = tab.evaluate("document.querySelector('#gone').hidden ? '' : document.querySelector('#gone').textContent")
    assert said.count("(") == len(gone)
    picture(tab, "versions")


def test_full_ranking_says_that_it_has_no_soft_filter(site: Site, tab: Tab) -> None:
    choose(tab, "version", "3")
    write(tab, "user", "u20")
    assert "The model ranked the whole catalogue." in show(tab)
    found, wanted = shown(tab), expected(site, "recommendations", user="u20", version="3")["items"]
    assert [one["cells"] for one in found] == [[]] * 10
    assert wanted[0]["explanation"]["note"] in found[0]["text"]


def test_an_error_of_the_service_is_shown_as_its_message(site: Site, tab: Tab) -> None:
    choose(tab, "version", "4")
    said = show(tab)
    assert said.startswith("Version 4 cannot serve: ")
    assert tab.evaluate("document.querySelector('#status').className") == "soft bad"
    assert shown(tab) == []
    site.tab.complaints.clear()  # the browser's own line on the status 422
    write(tab, "query", "x" * 2001)
    choose(tab, "version", "1")
    assert "at most 2000 characters" in wait(
        tab, "(s => s.includes('2000') && s)(document.querySelector('#status').textContent)"
    )


def test_an_unknown_user_is_noted_and_nobody_gets_the_popular_items(tab: Tab) -> None:
    assert "the most popular items answer" in show(tab)
    write(tab, "user", "nobody <b>")
    show(tab)
    note = wait(tab, "document.querySelector('#notes').textContent")
    assert note == "user 'nobody <b>' is unknown: the answer has no history"


def test_the_page_asks_for_nothing_outside_and_is_silent(site: Site, tab: Tab) -> None:
    write(tab, "user", "u1")
    show(tab)
    assert tab.complaints == []
    outside = [one for one in tab.requests if not one.startswith((f"{site.address}/", "data:"))]
    assert outside == []
    served = tab.evaluate("document.querySelector('#served').textContent")
    assert served == "gensr-tiny, version 1 (champion). "


def test_an_open_page_follows_the_champion_and_compares_no_version_with_itself(site: Site, tab: Tab) -> None:
    offered = "[...document.querySelector('#other').options].filter(o => !o.hidden).map(o => o.value).join()"
    assert wait(tab, "document.querySelector('#user').placeholder").startswith("For example u")
    assert tab.evaluate(offered) == ",2,3,4"
    choose(tab, "other", "3")
    choose(tab, "version", "3")
    assert tab.evaluate("document.querySelector('#other').value + ':' + " + offered) == ":,1,2,4"
    choose(tab, "version", "")
    first = site.versions.current
    try:
        site.versions.serve(site.versions.get("2").result(60))
        show(tab)
        wait(tab, "document.querySelector('#status').textContent.includes('by version 2')")
        wait(tab, "document.querySelector('#served').textContent.includes('version 2')")
        assert tab.evaluate(offered) == ",1,3,4"
    finally:
        assert first is not None
        site.versions.serve(first)


def test_every_link_of_the_page_leads_somewhere(site: Site, tab: Tab) -> None:
    for link in tab.evaluate("[...document.querySelectorAll('a')].map(a => a.href)"):
        with urlopen(link, timeout=30) as answer:
            assert answer.status == 200, link


@pytest.mark.parametrize("dark", [False, True])
def test_a_phone_scrolls_down_only(tab: Tab, dark: bool) -> None:
    tab.look(390, dark)
    write(tab, "user", "u12")
    write(tab, "query", "kitchen thing " + "x" * 300)
    choose(tab, "other", "2")
    show(tab)
    assert tab.evaluate("document.documentElement.scrollWidth <= 390"), widest(tab)
    wait(tab, "document.querySelector('#results-title').getBoundingClientRect().top < 450")  # in sight
    paper, ink = tab.evaluate("(s => [s.backgroundColor, s.color])(getComputedStyle(document.body))")
    light, other = (sum(map(int, one[4:-1].split(","))) for one in (paper, ink))
    assert (light < 150 < 600 < other) if dark else (other < 150 < 600 < light)
    picture(tab, f"phone-{'dark' if dark else 'light'}")


def widest(tab: Tab) -> Any:
    return tab.evaluate(
        "[...document.querySelectorAll('*')].filter(e => e.getBoundingClientRect().right > 390)"
        ".map(e => e.outerHTML.slice(0, 120))"
    )


def picture(tab: Tab, name: str) -> None:
    """The page as it is, where somebody wants to look."""
    if folder := os.environ.get("GENSR_PICTURES"):
        tab.picture(Path(folder) / f"page-{name}.png")
