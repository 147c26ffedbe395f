"""A failing expectation names itself, the count and a sample; a good dataset passes and leaves its documents."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from prepare_inputs import config, kuaisar_raw, prepared, random_amazon, rows

import tasks.validate.validate
from gensr_model.errors import DataError
from tasks.ingest.rejects import time_bounds
from tasks.prepare.schemas import TABLES
from tasks.validate.validate import validate_prepared, validate_raw

TS = 1_600_000_000_000


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to write into; the working folder is another, which must stay empty."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def set_rows(folder: Path, table: str, schema: pa.Schema, at: int, **fields: Any) -> None:
    result = rows(folder, table)
    result[at].update(fields)
    pq.write_table(pa.Table.from_pylist(result, schema), folder / f"{table}.parquet")


def test_good_folders_pass_and_write_only_into_out(tmp_path: Path, out: Path) -> None:
    raw = random_amazon(tmp_path / "raw")
    settings = config(negatives=10)
    for name in ("raw", "prepared"):
        (out / name).mkdir()
    raw_figures = validate_raw(raw, settings, out / "raw")
    figures = validate_prepared(prepared(raw, settings), settings, out / "prepared")
    assert raw_figures["expectations"] == 12
    assert figures["expectations"] > 70
    assert raw_figures["failed"] == figures["failed"] == 0
    assert 0 < figures["audit/later_share/later_share"] < 1
    assert 0 < figures["audit/same_time/touched_train"] < 1
    for name in ("raw", "prepared"):
        assert "Data Docs" in (out / name / "data_docs" / "index.html").read_text(encoding="utf-8")
        report = json.loads((out / name / "validation.json").read_text(encoding="utf-8"))
        assert report["success"] is True
        assert report["expectations"] == (raw_figures if name == "raw" else figures)["expectations"]
    audits = json.loads((out / "prepared" / "audits.json").read_text(encoding="utf-8"))
    assert len(audits["audits"]) > 15
    assert list(Path.cwd().iterdir()) == []
    assert not list(out.rglob("duckdb-temp"))
    assert os.environ["GX_ANALYTICS_ENABLED"] == "false"


def test_seconds_taken_for_milliseconds_are_named_with_their_lines(tmp_path: Path, out: Path) -> None:
    raw = random_amazon(tmp_path / "raw", each=3)
    schema = pq.read_schema(raw / "reviews.parquet")
    for at in (4, 9):
        set_rows(raw, "reviews", schema, at, ts=TS // 1000)
    with pytest.raises(DataError) as error:
        validate_raw(raw, config(), out)
    text = str(error.value)
    assert "1 of 12 expectations on the raw data failed" in text
    assert "raw_reviews.ts: expect_column_values_to_be_between (times are milliseconds UTC" in text
    assert "2 of 120 rows" in text
    assert "'line': 5" in text
    assert "'line': 10" in text
    report = json.loads((out / "validation.json").read_text(encoding="utf-8"))
    assert (report["success"], report["failed"]) == (False, 1)
    assert (out / "data_docs" / "index.html").is_file()


@pytest.mark.parametrize("ts", [0, int((time.time() + 3 * 86_400) * 1000)], ids=["zero", "in 3 days"])
def test_zero_and_future_times(tmp_path: Path, out: Path, ts: int) -> None:
    raw = random_amazon(tmp_path / "raw", each=3)
    set_rows(raw, "reviews", pq.read_schema(raw / "reviews.parquet"), 0, ts=ts)
    with pytest.raises(DataError, match=r"raw_reviews\.ts: expect_column_values_to_be_between .*1 of 120 rows"):
        validate_raw(raw, config(), out)


def test_a_time_that_ingest_accepts_is_no_failure_here(tmp_path: Path, out: Path) -> None:
    raw = random_amazon(tmp_path / "raw", each=3)
    ahead = time_bounds(config().ingest.earliest)["latest"] - 1000  # two days, less a second
    set_rows(raw, "reviews", pq.read_schema(raw / "reviews.parquet"), 0, ts=ahead)
    assert validate_raw(raw, config(), out)["failed"] == 0


@pytest.mark.parametrize(
    ("table", "field", "value", "message"),
    [
        ("rec", "click", 2, r"raw_rec\.click: expect_column_values_to_be_in_set \(click is 0 or 1\): 1 of 3 rows"),
        ("rec", "user", "", r"raw_rec\.user: expect_column_value_lengths_to_be_between"),
        ("src", "click_cnt", -1, r"raw_src\.click_cnt: expect_column_values_to_be_between"),
        ("src", "query", None, r"raw_src\.query: expect_column_values_to_not_be_null .*1 of 3 rows"),
        ("items", "item", None, r"raw_items\.item: expect_column_values_to_not_be_null .*1 of 2 rows"),
    ],
)
def test_each_raw_kuaisar_table_is_looked_at(
    tmp_path: Path, out: Path, table: str, field: str, value: Any, message: str
) -> None:
    both = [{"user": "u", "item": f"i{n}", "ts": TS + n} for n in range(3)]
    items = [{"item": "i0", "title": None, "category_names": []}, {"item": "i1", "title": "w1"}]
    raw = kuaisar_raw(tmp_path / "raw", both, both, items)
    (out / "good").mkdir()
    assert validate_raw(raw, config("kuaisar"), out / "good")["failed"] == 0
    set_rows(raw, table, pq.read_schema(raw / f"{table}.parquet"), 1, **{field: value})
    with pytest.raises(DataError, match=message):
        validate_raw(raw, config("kuaisar"), out)


def test_rows_that_nobody_accounts_for(tmp_path: Path, out: Path) -> None:
    raw = random_amazon(tmp_path / "raw")
    manifest = json.loads((raw / "manifest.json").read_text(encoding="utf-8"))
    (raw / "manifest.json").write_text(json.dumps({**manifest, "read": manifest["read"] + 1}), encoding="utf-8")
    with pytest.raises(DataError, match=r"raw_reading: expect_column_pair_values_to_be_equal \(accepted \+ rejected"):
        validate_raw(raw, config(), out)

    lost = {"name": "one", "read": 10, "accepted": 8, "rejected": 1}
    result = {"name": "two", "read": 10, "accepted": 10, "rejected": 1}  # only the sum is right
    (raw / "manifest.json").write_text(json.dumps({**manifest, "files": [lost, result]}), encoding="utf-8")
    with pytest.raises(DataError, match=r"accepted \+ rejected = read\): 2 of 3 rows"):
        validate_raw(raw, config(), out)


def test_an_empty_table(tmp_path: Path, out: Path) -> None:
    raw = kuaisar_raw(tmp_path / "raw", [{"user": "u", "item": "i", "ts": TS}], [], [{"item": "i"}])
    with pytest.raises(DataError, match=r"raw_src: expect_table_row_count_to_be_between .*observed 0"):
        validate_raw(raw, config("kuaisar"), out)


def test_a_missing_raw_table(tmp_path: Path, out: Path) -> None:
    raw = random_amazon(tmp_path / "raw")
    (raw / "reviews.parquet").unlink()
    with pytest.raises(DataError, match=r"reviews\.parquet.* missing"):
        validate_raw(raw, config(), out)


def test_an_audit_that_finds_rows_is_named_with_them(tmp_path: Path, out: Path) -> None:
    settings = config(negatives=10)
    folder = prepared(random_amazon(tmp_path / "raw"), settings)
    first = rows(folder, "candidates_test")[0]
    repeated = [*first["item_idx"][:-1], first["item_idx"][0]]
    set_rows(folder, "candidates_test", TABLES["candidates_test"], 0, item_idx=repeated)
    with pytest.raises(DataError) as error:
        validate_prepared(folder, settings, out)
    text = str(error.value)
    assert "1 of 84 expectations on the prepared dataset failed" in text
    assert "audits.candidate_repeated: expect_column_values_to_be_in_set (A list that holds an item twice.)" in text
    assert "1 rows, for example" in text
    assert first["sample_id"] in text


def test_more_than_three_failures_are_counted(tmp_path: Path, out: Path) -> None:
    settings = config(negatives=10)
    folder = prepared(random_amazon(tmp_path / "raw"), settings)
    set_rows(folder, "events", TABLES["events"], 0, user_idx=None, item_idx=-5, behavior="buy", ts=0)
    with pytest.raises(DataError, match=r"prepared_events\.user_idx: expect_column_values_to_not_be_null") as error:
        validate_prepared(folder, settings, out)
    assert error.value.full_message.startswith("8 of ")
    assert error.value.full_message.count("\n- ") == 3
    assert str(error.value).endswith("lists all failures.")


def test_large_tables_are_looked_at_every_nth_row(tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 320 reviews and a limit of 100 rows every fourth is looked at: row 4 is, row 5 is not."""
    monkeypatch.setattr(tasks.validate.validate, "FRAME_ROWS", 100)
    raw = random_amazon(tmp_path / "raw")
    schema = pq.read_schema(raw / "reviews.parquet")
    set_rows(raw, "reviews", schema, 5, ts=0)
    (out / "unseen").mkdir()
    assert validate_raw(raw, config(), out / "unseen")["failed"] == 0
    set_rows(raw, "reviews", schema, 4, ts=0)
    with pytest.raises(DataError, match="1 of 80 rows"):
        validate_raw(raw, config(), out)


@pytest.mark.parametrize(("without", "passes"), [(50, True), (51, False)])
def test_the_share_of_undescribed_items_has_a_bound(tmp_path: Path, out: Path, without: int, passes: bool) -> None:
    raw = random_amazon(tmp_path / "raw", each=3)
    manifest = json.loads((raw / "manifest.json").read_text(encoding="utf-8"))
    notes = {"items_in_events": 100, "items_without_meta": without}
    (raw / "manifest.json").write_text(json.dumps(manifest | {"notes": notes}), encoding="utf-8")
    if passes:
        assert validate_raw(raw, config(), out)["expectations"] == 13
        return
    message = r"51 of 100 items of the events \(51\.0%\) have no row in the item file, .* ingest\.max_undescribed_share"
    with pytest.raises(DataError, match=message):
        validate_raw(raw, config(), out)
