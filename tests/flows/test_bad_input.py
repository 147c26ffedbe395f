"""Bad input through the flow's data part: a run that stops says why in one message, and the next good one succeeds."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
import pytest
from built_once import new_home
from mlflow import MlflowClient
from prefect import State, flow
from prefect.runtime import flow_run
from raw_edits import (
    Damage,
    changed,
    empty,
    malformed,
    missing,
    read_lines,
    read_rows,
    truncated,
    without_column,
    write_lines,
    write_rows,
)
from tiny_stages import build_stage

from flows.shared.steps import prepare_data
from gensr_model.config.data import GeneratedSource
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.data.synthetic import write_amazon, write_kuaisar
from gensr_model.data.synthetic.amazon_writer import META, REVIEWS
from gensr_model.runtime.stage_folder import is_complete
from tasks.core.error_log import log_file
from tasks.core.state_dir import tracking_uri
from tasks.core.tracking import parent_run
from tasks.ingest.ingest import find_source, ingest
from tasks.prepare.prepare import prepare

pytestmark = pytest.mark.usefixtures("prefect_server")
Tiny = Callable[..., PipelineConfig]
REC, SRC, ITEMS = "rec_inter.csv", "src_inter.csv", "item_features.csv"
Accounts = tuple[str, dict[str, Any], dict[str, Any]]
DAY_MS = 86_400_000


@flow(name="data-part", persist_result=False)
def data_part(config: PipelineConfig) -> dict[str, Path]:
    """What ``full_pipeline`` does before it trains; the folder of each stage. Ingest is done anew."""
    with parent_run(config, "test/data-part", str(flow_run.id)) as run:
        data = prepare_data(run, config)
        assert not data.stages[0].reused  # later stages are, where ingest gives the same bytes
        return {stage.stage: stage.path for stage in data.stages}


class World(NamedTuple):
    """A state folder that all runs share, so that good runs follow failed ones; good raw files of each format."""

    home: Path
    good: dict[str, Path]
    number: Iterator[int]

    def copy(self, format: str, place: Path) -> Path:
        return Path(shutil.copytree(self.good[format], place / "source"))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, mlflow_database: Path) -> Iterator[World]:
    place = tmp_path_factory.mktemp("bad-input")
    source = GeneratedSource(users=60, items=150, events_per_user=16)
    write_amazon(place / "amazon", source)
    write_kuaisar(place / "kuaisar", source)
    good = {"amazon": place / "amazon", "kuaisar": place / "kuaisar"}
    new_home(place / "home", mlflow_database)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GENSR_HOME", str(place / "home"))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield World(place / "home", good, count())


def configured(world: World, tiny: Tiny, format: str, source: Path, **prepare: Any) -> PipelineConfig:
    """No two have the same key of ingest: each run reads its files."""
    return tiny(
        format=format,
        source={"kind": "folder", "path": str(source)},
        ingest={"max_reject_share": 0.01 + next(world.number) * 1e-6},
        prepare={"negatives": 10, "min_interactions": 3, "threads": 1, **prepare},
        lightgcn={"epochs": 1},
    )


# --- what stops a run ------------------------------------------------------------------------------------------


def other_files(source: Path) -> None:
    for path in source.iterdir():
        path.unlink()
    (source / "holiday.jpg").write_bytes(b"\xff\xd8")


def no_folder(source: Path) -> None:
    shutil.rmtree(source)


def a_month_ahead(_: int) -> int:
    return int(time.time()) + 30 * 86_400


TIME, MS = "unixReviewTime", "timestamp"
CUT = r": \d+ of [\d,]+ rows \(5\.\d%\) cannot be used; at most 1\.0% may be .*line \d+: .*Repair the file"
ALL = r": ([\d,]+) of \1 rows \(100\.0%\) cannot be used\. .*"
STOPS: dict[str, tuple[str, Damage, str]] = {
    "reviews empty": ("amazon", empty(REVIEWS), rf"/{REVIEWS}: the file is empty \(0 bytes\)\. Copy or"),
    "meta empty": ("amazon", empty(META), rf"/{META}: the file is empty \(0 bytes\)\. Copy or"),
    "clicks empty": ("kuaisar", empty(REC), rf"/{REC}: the file is empty \(0 bytes\)\. Copy or download"),
    "reviews cut off": ("amazon", truncated(REVIEWS), rf"/{REVIEWS}: .* truncated.* after line \d+\. Copy or"),
    "meta cut off": ("amazon", truncated(META), rf"/{META}: .* truncated.* after line \d+\. Copy or download"),
    "searches cut off": ("kuaisar", truncated(SRC), rf"/{SRC}\.gz: .* truncated.* after line \d+\. Copy or"),
    "no such folder": ("amazon", no_folder, r"/source: there is no such folder \(source, seen from"),
    "another folder": ("amazon", other_files, r"/source: no Amazon reviews file .*The folder holds: holiday\.jpg"),
    "another folder for kuaisar": ("kuaisar", other_files, rf"/source: no {REC}.*The folder holds: holiday\.jpg"),
    "meta missing": ("amazon", missing(META), rf"/source: no Amazon meta file .*The folder holds: {REVIEWS}"),
    "items missing": ("kuaisar", missing(ITEMS), rf"/source: no {ITEMS} .*The folder holds: {REC}"),
    "reviews malformed": ("amazon", malformed(REVIEWS), rf"/{REVIEWS}{CUT}"),
    "meta malformed": ("amazon", malformed(META), rf"/{META}{CUT}"),
    "searches malformed": ("kuaisar", malformed(SRC), rf"/{SRC}{CUT}"),
    "a column missing": (
        "kuaisar",
        without_column(REC, "click"),
        rf"/{REC}: the header \(line 1\) has no column click\.",
    ),
    "reviews in the future": (
        "amazon",
        changed(REVIEWS, TIME, a_month_ahead),
        rf"/{REVIEWS}{ALL}timestamp in the future",
    ),
    "reviews at zero": ("amazon", changed(REVIEWS, TIME, lambda _: 0), rf"/{REVIEWS}{ALL}timestamp is zero"),
    "reviews in milliseconds": (
        "amazon",
        changed(REVIEWS, TIME, lambda s: s * 1000),
        rf"/{REVIEWS}{ALL}off by the same unit .*: milliseconds where seconds are expected",
    ),
    "clicks in the future": (
        "kuaisar",
        changed(REC, MS, lambda ms: ms + 9_000 * DAY_MS),
        rf"/{REC}{ALL}timestamp in the future",
    ),
    "clicks at zero": ("kuaisar", changed(REC, MS, lambda _: 0), rf"/{REC}{ALL}timestamp is zero"),
    "clicks in seconds": (
        "kuaisar",
        changed(REC, MS, lambda ms: ms // 1000),
        rf"/{REC}{ALL}off by the same unit .*: seconds where milliseconds are expected",
    ),
}


@pytest.mark.parametrize("case", list(STOPS))
def test_a_run_that_stops_says_why_and_leaves_nothing_half_written(
    world: World, tiny: Tiny, tmp_path: Path, case: str
) -> None:
    format, damage, pattern = STOPS[case]
    source = world.copy(format, tmp_path)
    damage(source)
    check_stopped(world, data_part(configured(world, tiny, format, source), return_state=True), pattern)


@pytest.mark.parametrize("format", ["amazon", "kuaisar"])
def test_a_dataset_that_the_filters_empty(world: World, tiny: Tiny, format: str) -> None:
    config = configured(world, tiny, format, world.good[format], min_interactions=500)
    pattern = r"the filters leave no interaction\. read: \d+ users, .*Lower prepare\.min_interactions \(now 500\)"
    check_stopped(world, data_part(config, return_state=True), pattern)


@pytest.mark.slow
@pytest.mark.parametrize("format", ["amazon", "kuaisar"])
def test_the_next_good_run_succeeds(world: World, tiny: Tiny, tmp_path: Path, format: str) -> None:
    """The files are damaged and repaired in place, the configuration stays the same."""
    source = world.copy(format, tmp_path)
    name = REVIEWS if format == "amazon" else SRC
    config = configured(world, tiny, format, source)
    whole = (source / name).read_bytes()
    malformed(name)(source)
    state: State = data_part(config, return_state=True)
    check_stopped(world, state, rf"/{name}{CUT}")
    rejects = logged_rejects(world)
    assert len(rejects) > 10
    assert {row["file"] for row in rejects} == {name}

    (source / name).write_bytes(whole)
    folders = data_part(config)
    assert json.loads((folders["ingest"] / "manifest.json").read_text(encoding="utf-8"))["rejected"] == 0
    assert all(is_complete(folder) for folder in folders.values())


def check_stopped(world: World, state: State, pattern: str) -> None:
    """Failed with one error that is shown once, and what lies in the state folder is whole."""
    assert state.is_failed()
    message = (state.message or "").replace("\n", " ")
    assert re.search(pattern, message), message
    assert len(re.findall(r"\b(?:Data|EmptyFile)Error\b", message)) == 1
    assert "Traceback" not in message
    assert len((state.message or "").splitlines()) <= 3
    assert "Traceback" in log_file(str(state.state_details.flow_run_id)).read_text(encoding="utf-8")
    assert not list(world.home.rglob("*.tmp*"))
    folders = [path for path in (world.home / "store").glob("*/*") if path.is_dir()]
    assert all(is_complete(folder) for folder in folders)
    latest = latest_run()
    assert latest.info.status == "FAILED"
    assert re.search("DataError|EmptyFileError", latest.data.tags["error"])


def latest_run(**tags: str) -> Any:
    """MLflow's last started run without a parent, or with the given tags."""
    client = MlflowClient(tracking_uri())
    (place,) = [e.experiment_id for e in client.search_experiments() if e.name == "gensr"]
    wanted = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
    result = client.search_runs([place], wanted or "tags.flow = 'test/data-part'", max_results=1)
    return result[0]


def logged_rejects(world: World) -> list[dict[str, Any]]:
    """What the failed stage ingest of the last run gave to MLflow."""
    child = latest_run(**{"mlflow.parentRunId": latest_run().info.run_id, "mlflow.runName": "ingest"})
    folder = MlflowClient(tracking_uri()).download_artifacts(child.info.run_id, "rejects.parquet")
    result: list[dict[str, Any]] = pq.read_table(folder).to_pylist()
    return result


# --- what does not ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["amazon", "kuaisar"])
def accounts(
    world: World, tiny: Tiny, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Accounts:
    """(format, account of the good files, account of files with everything in them that a run goes on with)."""
    format = request.param
    config = configured(world, tiny, format, world.good[format])
    home = tmp_path_factory.mktemp("good")
    raw = build_stage(home, ingest, config, find_source.fn(config))  # no flow: of good files only the counts are read
    before = account({"ingest": raw.path, "prepare": build_stage(home, prepare, config, raw).path})
    source = world.copy(format, tmp_path_factory.mktemp("benign"))
    (benign_amazon if format == "amazon" else benign_kuaisar)(source)
    return format, before, account(data_part(configured(world, tiny, format, source)))


def account(folders: dict[str, Path]) -> dict[str, Any]:
    ingest, prepare = (
        json.loads((folders[s] / "manifest.json").read_text(encoding="utf-8")) for s in ("ingest", "prepare")
    )
    users = pq.read_table(folders["prepare"] / "users.parquet")["raw_id"].to_pylist()
    return prepare["counts"] | {"rejected": ingest["rejected"], "users": set(users)}


def benign_amazon(source: Path) -> None:
    """Seven reviews told twice, a user of one purchase, a cut line, an item whose one path is all stop words."""
    rows = read_rows(source / REVIEWS)
    write_rows(source / REVIEWS, [*rows, *rows[:7], rows[0] | {"reviewerID": "ONCE"}])
    write_lines(source / REVIEWS, [*read_lines(source / REVIEWS), b"cut sho"])
    popular, _ = Counter(row["asin"] for row in rows).most_common(1)[0]
    described = repr({"asin": popular, "categories": [["The", "And of"]]}).encode()
    write_lines(source / META, [described, *read_lines(source / META)])  # the first line of an item stands


def benign_kuaisar(source: Path) -> None:
    """Seven deliveries told twice, a user of one click, a cut line, a clicked search without a word."""
    rows = read_rows(source / REC)
    write_rows(source / REC, [*rows, *rows[:7], rows[0] | {"user_id": "999999", "click": "1"}])
    write_lines(source / REC, [*read_lines(source / REC), b"cut sho"])
    searches = read_rows(source / SRC)
    clicked = next(row for row in searches if row["click_cnt"] != "0")
    write_rows(source / SRC, [*searches, clicked | {"keyword": "[]"}])


def test_a_few_bad_lines_are_counted(accounts: Accounts) -> None:
    _, before, after = accounts
    assert (before["rejected"], after["rejected"]) == (0, 1)


def test_duplicate_events_are_dropped_and_counted(accounts: Accounts) -> None:
    format, before, after = accounts
    field = "duplicates_dropped" if format == "amazon" else "rec_duplicates_dropped"
    assert after["read"][field] - before["read"][field] == 7


def test_a_user_of_one_event_is_dropped_and_counted(accounts: Accounts) -> None:
    """KuaiSAR's goes first for want of a search."""
    format, before, after = accounts
    field = "users_removed_by_k_core" if format == "amazon" else "users_without_both_behaviors"
    assert after["filter"][field] - before["filter"][field] == 1
    assert after["users"] == before["users"]


def test_a_query_without_a_word_makes_no_search_and_is_counted(accounts: Accounts) -> None:
    """Amazon's paths lose their stop words, KuaiSAR's anonymised words know none: there it is the empty query."""
    format, before, after = accounts
    if format == "kuaisar":
        assert after["read"]["src_without_query"] - before["read"]["src_without_query"] == 1
        assert after["read"]["src_engaged"] - before["read"]["src_engaged"] == 1
        return
    old, new = before["category_queries"], after["category_queries"]
    assert (new["items_with_path"], new["items_with_query"]) == (old["items_with_path"], old["items_with_query"] - 1)
    assert new["purchases"] == old["purchases"]
    assert new["search_events"] < old["search_events"]
