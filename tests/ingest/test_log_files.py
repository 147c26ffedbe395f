"""Own logs: which files are read, and one sentence about those that cannot be."""

from __future__ import annotations

import gzip
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from ingest_inputs import lines
from test_ingest_logs import HEADER, LOG, MS, ROW, as_parquet, events, ingest, source, zstd

from gensr_model.errors import DataError


@pytest.mark.parametrize(
    "name", ["events.csv.bak", "events.xlsx", "events-2.zip", "eventstore.csv", "events/x.txt.tmp"]
)
def test_a_file_that_begins_like_a_table_is_read_or_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="begins like the table events and is not read"):
        ingest(source(tmp_path / "logs", **{"events.1.csv": lines(HEADER, ROW), name: b"x"}))


def test_a_folder_a_day_holds_the_parts_of_all_tables(tmp_path: Path) -> None:
    files = {f"day=2026-01-0{n}/events.csv": lines(HEADER, ROW.replace("u1", f"u{n}")) for n in (2, 1)}
    folder = source(tmp_path / "logs", **files)
    raw = ingest(folder, {"events": {"hive": True, "columns": {"session": "day"}}})
    assert events(raw, "user", "session", "file") == [
        ("u1", "2026-01-01", "day=2026-01-01/events.csv"),
        ("u2", "2026-01-02", "day=2026-01-02/events.csv"),
    ]
    (folder / "events.csv").write_bytes(lines(HEADER, ROW))
    with pytest.raises(DataError, match=r"events.csv and day=2026-01-01/events.csv both begin like the table events"):
        ingest(folder)


def test_the_same_part_twice_is_an_error(tmp_path: Path) -> None:
    both = {"events.csv": lines(HEADER, ROW), "events.csv.gz": gzip.compress(lines(HEADER, ROW))}
    with pytest.raises(DataError, match=r"events.csv and events.csv.gz are the same part"):
        ingest(source(tmp_path / "logs", **both))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("events.csv", (HEADER + "\n" + ROW).encode("utf-16"), "UTF-16"),
        ("events.csv", b"", "the file is empty"),
        ("events.csv", gzip.compress(lines(HEADER, *[ROW] * 900), mtime=0)[:60], "truncated or damaged after line"),
        ("events.csv.zst", zstd(lines(HEADER, *[f"{ROW}{n}" for n in range(900)]))[:60], "truncated or damaged"),
        ("events.json", b'[{"user_id": 1}]\n', "JSON array"),
        ("events.parquet", lines(HEADER, ROW), "no complete Parquet file"),
        ("events.parquet", as_parquet(LOG)[:-9], "no complete Parquet file"),
        ("events.csv", f"{HEADER}\r{ROW}\r".encode(), "CR alone"),
        ("events.csv", lines(HEADER + ",query", ROW + ",x"), "names column query twice"),
        ("events.csv", lines(HEADER), "no row of data"),
        ("events.csv", f"{HEADER},Größe\n{ROW},1\n".encode("cp1250"), "header line is not UTF-8: .* iconv"),
        ("clicks.csv", lines(HEADER, ROW), r"no file of the table events.*clicks\.csv"),
    ],
    ids=range(12),
)
def test_a_file_that_cannot_be_read_is_one_sentence(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        ingest(source(tmp_path / "logs", **{name: content}))


def test_windows_line_ends_byte_order_mark_and_blank_lines(tmp_path: Path) -> None:
    content = b"\xef\xbb\xbf\r\n" + lines(HEADER, ROW, ROW).replace(b"\n", b"\r\n") + b"\r\n"
    raw = ingest(source(tmp_path / "logs", events__csv=content), share=0.0)
    assert events(raw, "query", "line") == [("red shoe", 3), ("red shoe", 4)]


def test_a_header_that_the_config_gives(tmp_path: Path) -> None:
    header = ["who", "what", "when"]
    logs = {"events": {"header": header, "columns": dict(zip(("user", "item", "time"), header, strict=True))}}
    raw = ingest(source(tmp_path / "logs", events__tsv=b"u1\ti1\t1700000000"), logs)
    assert events(raw, "user", "item", "ts", "line") == [("u1", "i1", MS, 1)]


def test_a_name_of_a_file_may_be_mapped(tmp_path: Path) -> None:
    files = {"shop_log.2.csv": lines(HEADER, ROW), "shop_log.1.csv": lines(HEADER, ROW.replace("u1", "u0"))}
    raw = ingest(source(tmp_path / "logs", **files), {"events": {"name": "shop_log"}})
    assert events(raw, "user") == [("u0",), ("u1",)]


def test_rejects_name_the_row_of_a_parquet_file(tmp_path: Path) -> None:
    rows = [row | {"sku": None if n == 1 else row["sku"], "EVENT_TYPE": "click"} for n, row in enumerate(LOG)]
    raw = ingest(source(tmp_path / "logs", events__parquet=as_parquet(rows)))
    (reject,) = pq.read_table(raw.folder / "rejects.parquet").to_pylist()
    assert reject == {"file": "events.parquet", "line": 2, "reason": "no sku", "excerpt": "8,1700000001,click"}
    assert pc.sum(pq.read_table(raw.folder / "events.parquet")["line"]).as_py() == 4
