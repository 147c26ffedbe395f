"""The closed loop: own logs make a champion, people search and click on its page, and the next night learns of it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml
from browser import Tab, browser, chromium
from built_once import new_home
from installed import Installed, wait_for
from shop_logs import shop

from flows.local.installation import ROOT
from flows.retrain import retrain
from gensr_model.config.pipeline import PipelineConfig
from tasks.core.state_dir import StateDir
from tasks.promote.record import DECISION, LATEST, read_decision

pytestmark = [pytest.mark.usefixtures("prefect_server"), pytest.mark.slow]
PAGE = ROOT / "docs" / "how_to" / "learn_from_clicks.md"
TYPED, QUERY = "Bücher neu", "bücher neu"  # nobody searched for it before; prepare folds the case
SEARCHERS = ("u0", "u7", "u14")


@pytest.fixture
def installed(tmp_path: Path, mlflow_database: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installed]:
    """An installation whose nights are run in this process."""
    chromium()
    installed = Installed(tmp_path)
    new_home(installed.home.root, mlflow_database)
    monkeypatch.setenv("GENSR_HOME", str(installed.home.root))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    yield installed
    installed.command("down")


def test_what_people_click_on_the_page_is_learned_the_next_night(
    installed: Installed, tiny: Callable[..., PipelineConfig], tmp_path: Path
) -> None:
    logs = shop(tmp_path / "shop", searches=0.5)
    # The first night, too: the config also reads a folder into which no service wrote.
    changes = {"format": "logs", "logs": documented_logs(), "source": str(logs), "retrain": {"delta": 1.0}}
    first = retrain(tiny(name="loop", **changes))
    assert (first["outcome"], first["new_version"]) == ("promoted", "1")

    with installed.serving("--events", str(logs)) as address, browser(tmp_path / "browser") as tab:
        clicked = {user: search_and_click(tab, address, user) for user in SEARCHERS}
        assert tab.complaints == []
    shown = {one["user_id"]: one for one in documents(logs, "queries") if one["user_query"] == TYPED}
    assert {user: shown[user]["query_response_hit_ids"][1] for user in SEARCHERS} == clicked

    second = retrain(tiny(name="loop", **changes))
    record = read_decision(installed.home.runs / LATEST / DECISION)
    assert record.outcome == second["outcome"] != "failed"
    assert (record.champion_version, record.new_version) == ("1", "2"), "the data have changed, so it was compared"
    data = prepared(installed.home)
    assert pairs_of(data / "events.parquet") == set(clicked.items())
    assert pairs_of(data / "impressions.parquet") == {
        (user, item) for user in SEARCHERS for item in shown[user]["query_response_hit_ids"]
    }


def documented_logs() -> Any:
    """The section ``logs`` of the how-to page, for the shop's column of users."""
    (block,) = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    return yaml.safe_load(block)["logs"]


def search_and_click(tab: Tab, address: str, user: str) -> str:
    """Search as a user on the page and open the second result; its id."""
    tab.open(f"{address}/")
    for field, text in (("user", user), ("query", TYPED)):
        tab.evaluate(f"document.querySelector('#{field}').focus()")
        tab.call("Input.insertText", text=text)
    tab.press("Enter", 13, "\r")
    titles = "document.querySelectorAll('#results .title')"
    wait_for(lambda: tab.evaluate(f"{titles}.length == 10"), 60, "results")
    tab.evaluate(f"{titles}[1].focus()")
    tab.press("Enter", 13, "\r")
    wait_for(lambda: tab.evaluate("document.querySelector('#results .about button') !== null"), 60, "the item")
    return str(tab.evaluate(f"{titles}[1].closest('li').dataset.item"))


def documents(folder: Path, kind: str) -> list[dict[str, Any]]:
    files = sorted(folder.glob(f"{kind}-*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]


def prepared(home: StateDir) -> Path:
    """The only prepared data with the query."""
    each = home.root.glob("store/prepare/*/queries.parquet")
    (only,) = (file.parent for file in each if (QUERY,) in duckdb.read_parquet(str(file)).project("text").fetchall())
    return only


def pairs_of(table: Path) -> set[tuple[str, str]]:
    """(user, item) of the rows whose query is the one on the page."""
    rows = duckdb.execute(
        "select u.raw_id, i.raw_id from read_parquet($table) "
        "join read_parquet($data || '/users.parquet') u using (user_idx) "
        "join read_parquet($data || '/items.parquet') i using (item_idx) "
        "join read_parquet($data || '/queries.parquet') q using (query_idx) where q.text = $query",
        {"table": str(table), "data": str(table.parent), "query": QUERY},
    ).fetchall()
    return set(rows)
