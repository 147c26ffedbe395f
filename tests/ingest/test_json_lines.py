"""JSON lines give the same rows in blocks as line by line, whatever they hold. Regular ones are read in blocks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from tasks.core import sql_runner
from tasks.ingest.tables import json_lines, text_chunks
from tasks.ingest.tables.json_blocks import Blocks

PATHS = {
    "user": ("user_id",),
    "late": ("event_type",),
    "LATE": ("EVENT_TYPE",),
    "inner": ("object", "id"),
    "deeper": ("object", "place", "ordinal"),
    "deepest": ("object", "place", "ordinal", "index"),
    'o "q" é': ('a "b".c é',),
}
REGULAR: list[dict[str, Any]] = [
    {"user_id": 7, "object": {"id": "x", "place": {"ordinal": 3}}, "other": [1, {"user_id": 2}]},
    {"user_id": 1.50, "event_type": "click", "object": {"id": {"a": [1, 2.50, None]}, "place": None}},
    {"user_id": 'Zoë \u676f \\ " \n', "object": None, 'a "b".c é': True},
    {"user_id": 2**70, "object": {"place": {"ordinal": {"index": 4.0}}}},
    {"user_id": None, "object": {"place": {"ordinal": '{"index": 5}'}}},
    {"user_id": [1, "a"], "object": {"place": {"ordinal": [{"index": 5}]}}},
    {"User_Id": "of another key"},
    {},
]
ODD = [
    *(
        b"null",
        b" null\r",
        b"5",
        b'"user_id"',
        b"[1]",
        b"{",
        b'{"user_id": 1}}',
        b'{"user_id": 1} {"user_id": 2}',
        b"x",
    ),
    *(b"", b"  \t", b"\x0c", b'\x0b{"user_id": 1}', b'{"user_id": 1}\r', b'\xa0{"user_id": 1}', b"\xc2\xa0"),
    *(b'{"user_id": 1, "user_id": 2}', b'{"object": {"id": 1, "id": 2}}', b'{"object": "text"}', b'{"object": [1]}'),
    *(b'{"object": {"place": 5}}', b'{"EVENT_TYPE": "view"}', b'{"event_type": "a", "EVENT_TYPE": "b"}'),
    *(b'{"user_id": "\xff"}', b'{"z": "\xff"}', b'{"user_id": "\\ud800"}', b'{"user_id": NaN}', b'{"user_id": 1e400}'),
    *(b'{"user_id": 1e3}', b'{"user_id": -0.0}', b'{"user_id": "a\\u0000b"}', b'{"user_id": 1,}', b"\xef\xbb\xbf{}"),
    *(f'{{"user_id": {n}, "object": "{"é" * 40}", "user_id": 2}}'.encode() for n in (1, 10)),
    *(b'{"user_id": 12345678901234567.0}', b'{"object": {"id": -1e17}}', b'{"user_id": 0.00001}'),
    b'{"user_id": "%s"}' % (b"x" * 3_000_000),
]


UBI_PATHS = {"user": ("client_id",), "item": ("event_attributes", "object", "object_id"), "type": ("action_name",)}
UBI: list[dict[str, Any]] = [
    {"index": {"_index": "ubi_events"}},
    {"client_id": "c", "action_name": "click", "event_attributes": {"object": {"object_id": 7}}},
    {"client_id": "d", "user_query": "shoe", "query_attributes": {}},
    {"client_id": "e", "action_name": None},
    {"client_id": "f", "user_query": "action_name"},
    {"client_id": "g", "query_attributes": {"action_name": 1}},
    {"client_id": "h", "event_attributes": {}},
    {"_source": {"client_id": "i", "action_name": "view"}},
    {"_source": None, "client_id": "j", "action_name": "view"},
]
WIDTH = 120  # of a line


def read(path: Path, paths: dict[str, tuple[str, ...]] = PATHS, step: str | None = None) -> list[pa.Table]:
    with duckdb.connect(config={"temp_directory": str(path.parent / "spill"), "threads": 2}) as con:
        sql_runner.run(con, "tables/macros")
        rows, rejects = map(pa.concat_tables, zip(*json_lines.json_rows(con, path, paths, step), strict=True))
    return [rows.combine_chunks(), rejects.sort_by("line")]


def line_by_line(path: Path, *how: Any) -> list[pa.Table]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Blocks, "rows", lambda *_: None)
        return read(path, *how)


def written(path: Path, lines: list[bytes]) -> Path:
    path.write_bytes(b"".join(line.ljust(WIDTH - 1) + b"\n" for line in lines))
    return path


def as_lines(rows: list[dict[str, Any]]) -> list[bytes]:
    return [json.dumps(row, ensure_ascii=n % 2 == 0).encode() for n, row in enumerate(rows)]


def test_regular_lines_are_read_as_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "e.jsonl", [b"", *as_lines(REGULAR * 20)])
    expected = line_by_line(path)
    monkeypatch.setattr(text_chunks, "CHUNK", 5_000)
    monkeypatch.setattr(json_lines, "_line_by_line", None)
    assert read(path) == expected
    rows = expected[0].slice(0, 6)
    assert rows["line_no"].to_pylist() == [2, 3, 4, 5, 6, 7]
    assert rows["user"].to_pylist() == ["7", "1.5", 'Zoë 杯 \\ " \n', str(2**70), None, '[1,"a"]']
    assert rows["deeper"].to_pylist() == ["3", None, None, '{"index":4.0}', '{"index": 5}', '[{"index":5}]']
    assert rows["deepest"].to_pylist() == [None, None, None, "4.0", None, None]


def test_a_chunk_with_an_odd_line_is_as_the_line_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    regular = json.dumps(REGULAR[0]).encode()
    path = written(tmp_path / "e.jsonl", [each for line in ODD for each in (regular, line)])
    expected = line_by_line(path)
    for lines in (1, 2):
        monkeypatch.setattr(text_chunks, "CHUNK", lines * WIDTH)
        assert read(path) == expected
    rows, rejects = expected
    blank = [2 * n + 2 for n, line in enumerate(ODD) if not line.decode("utf-8", "replace").strip()]
    assert blank
    assert sorted(rows["line_no"].to_pylist() + rejects["line"].to_pylist() + blank) == list(range(1, 2 * len(ODD) + 1))


@pytest.mark.parametrize("step", ["ubi_events", "ubi_queries"])
def test_documents_of_ubi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    path = written(tmp_path / "ubi.ndjson", [*as_lines(UBI), b"null", b"{broken"])
    expected = line_by_line(path, UBI_PATHS, step)
    monkeypatch.setattr(text_chunks, "CHUNK", WIDTH)
    assert read(path, UBI_PATHS, step) == expected
    users = {"ubi_events": ["c", "e", "f", "g", "h", "i", "j"], "ubi_queries": ["d"]}
    assert expected[0]["user"].to_pylist() == users[step]
