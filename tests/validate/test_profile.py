"""Profiles on tables small enough to count by hand."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import pyarrow as pa
from prepare_inputs import DAY, START, amazon_raw, config, prepared

from tasks.core.sql_runner import connect
from tasks.validate.audit import open_prepared
from tasks.validate.profile import write_profile


def test_columns_by_hand(tmp_path: Path) -> None:
    con = duckdb.connect()
    table = pa.table(
        {
            "number": pa.array([5, 1, 2, 4, 3, None], pa.int64()),
            "text": ["b", None, None, "a" * 100, "b", "c"],
            "lists": pa.array([[1], [], None, [1], [2], [2]], pa.list_(pa.int32())),
            "file_row_number": range(6),
        }
    )
    con.from_arrow(table).create("things")
    write_profile(con, ["things"], tmp_path)
    number, text, lists = json.loads((tmp_path / "profile.json").read_text(encoding="utf-8"))["columns"]
    assert number == {
        "table": "things",
        "column": "number",
        "type": "BIGINT",
        "rows": 6,
        "nulls": 1,
        "distinct_about": 5,
        "min": "1",
        "q25": "2",
        "median": "3",
        "q75": "4",
        "max": "5",
    }
    assert (text["column"], text["rows"], text["nulls"], text["distinct_about"]) == ("text", 6, 2, 3)
    assert (text["min"], text["max"], text["median"]) == ("a" * 40, "c", None)
    assert (lists["column"], lists["nulls"]) == ("lists", 1)


def test_an_empty_table_has_a_row_per_column(tmp_path: Path) -> None:
    con = duckdb.connect()
    con.from_arrow(pa.table({"a": pa.array([], pa.int64()), "b": pa.array([], pa.string())})).create("empty")
    write_profile(con, ["empty"], tmp_path)
    result = json.loads((tmp_path / "profile.json").read_text(encoding="utf-8"))["columns"]
    assert [(row["column"], row["rows"], row["nulls"], row["min"]) for row in result] == [
        ("a", 0, 0, None),
        ("b", 0, 0, None),
    ]


def test_ties_per_day(tmp_path: Path) -> None:
    """Day 0: one of u's purchases alone. Day 1: two of u tie, one of v does not. Search events tie with each other."""
    purchases = [("u", "A", 0), ("u", "B", 1), ("u", "C", 1), ("v", "D", 1), ("u", "A", 2)]
    raw = amazon_raw(tmp_path / "raw", purchases, {item: [["Top", f"Kind {item}{item}"]] for item in "ABCD"})
    settings = config()
    folder = prepared(raw, settings)
    with connect(settings.prepare, tmp_path / "temp") as con:
        open_prepared(con, folder, settings.prepare)
        write_profile(con, ["events"], tmp_path)
    content = json.loads((tmp_path / "profile.json").read_text(encoding="utf-8"))
    assert content["ties"] == {
        "days": 3,
        "events": 10,
        "tied_events": 4,
        "tied_share_min": 0.0,
        "tied_share_median": 0.0,
        "tied_share_max": 4 / 6,
    }
    ts = next(row for row in content["columns"] if row["column"] == "ts")
    assert (ts["min"], ts["max"], ts["nulls"]) == (str(START), str(START + 2 * DAY), 0)
