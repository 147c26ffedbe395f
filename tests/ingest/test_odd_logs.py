"""Own logs as other programs write them: what they mean, or one sentence about what is wrong."""

from __future__ import annotations

import gzip
import json
import uuid
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ingest_inputs import lines
from test_ingest_logs import HEADER, LOG, ROW, as_lines, events, ingest, source

from gensr_model.config.pipeline import PipelineConfig
from gensr_model.errors import DataError

ONE = {"user_id": "u1", "item_id": "i1", "timestamp": 1700000000}


def test_header_names_may_be_empty_beside_texts_of_several_lines(tmp_path: Path) -> None:
    content = lines(f",{HEADER},", f"0,{ROW.replace('Red Shoe', chr(34) + 'a' + chr(10) + 'b' + chr(34))},")
    assert events(ingest(source(tmp_path / "logs", events__csv=content)), "user", "query") == [("u1", "a b")]


@pytest.mark.parametrize(
    ("name", "content", "item"),
    [
        ("events.csv", lines("user_id,product,timestamp", "u1,i1,1700000000"), "product.id"),
        ("events.csv", lines("user_id,product,timestamp", "u1,i1,1700000000"), "product[0]"),
        ("events.jsonl", as_lines([ONE | {"products": [{"id": 7}]}]), "products[0].id"),
    ],
    ids=["dot", "bracket", "list"],
)
def test_a_path_into_what_holds_no_objects_is_no_column(name: str, content: bytes, item: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"which is no column\. Columns: .*Nearest: "):
        ingest(source(tmp_path / "logs", **{name: content}), {"events": {"columns": {"item": item}}})


def test_a_key_of_json_may_hold_a_quote_and_a_slash(tmp_path: Path) -> None:
    content = as_lines([ONE | {'us"er/~': {"id": "u7"}, 'it"em': 7}])
    logs = {"events": {"columns": {"user": 'us"er/~.id', "item": 'it"em'}}}
    assert events(ingest(source(tmp_path / "logs", events__jsonl=content), logs), "user", "item") == [("u7", "7")]


def test_objects_under_odd_keys_do_not_stop_the_reading(tmp_path: Path) -> None:
    odd = {"": {"a": 1}, "*": {"a": 1}, "a.b": {"id": 1}, "user": {"id": "u7", "": 1, "x.y": 2}}
    content = as_lines([{name: value for name, value in ONE.items() if name != "user_id"} | odd])
    raw = ingest(source(tmp_path / "logs", events__jsonl=content))
    assert events(raw, "user") == [("u7",)]
    (told,) = [file["understood"]["unused"] for file in raw.manifest["files"] if file["name"] == "events.jsonl"]
    assert sorted(told) == ["", "*.a", "a.b"]


@pytest.mark.parametrize("depth", [127, 128, 9_999])
def test_an_object_nested_deep_is_a_row(depth: int, tmp_path: Path) -> None:
    deep = json.dumps(ONE)[:-1] + f', "z": {"[" * depth}{"]" * depth}}}'
    content = lines(deep, json.dumps(ONE | {"query": '"[[' * 99})) + as_lines([ONE | {"wide": [{}] * 200}])
    raw = ingest(source(tmp_path / "logs", events__jsonl=content))
    assert events(raw, "user") == [("u1",)] * 3
    (found,) = [file["understood"] for file in raw.manifest["files"] if file["name"] == "events.jsonl"]
    assert "wide" in str(found["unused"])
    assert found["columns"]["query"]


def test_json_lines_in_another_encoding(tmp_path: Path) -> None:
    content = as_lines([ONE | {"query": "é"}]).decode().encode("latin-1")
    with pytest.raises(DataError, match=r"no line is UTF-8\. Save the file as UTF-8: iconv"):
        ingest(source(tmp_path / "logs", events__jsonl=content))


def parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return sink.getvalue().to_pybytes()


def with_users(users: pa.Array) -> bytes:
    return parquet(pa.table({"user_id": users, "item_id": ["i1"], "timestamp": [1700000000]}))


def test_a_uuid_is_its_usual_text(tmp_path: Path) -> None:
    one = uuid.UUID("f81d4fae-7dec-11d0-a765-00a0c91e6bf6")
    content = with_users(pa.array([one.bytes], pa.uuid()))
    assert events(ingest(source(tmp_path / "logs", events__parquet=content)), "user") == [(str(one),)]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("events.parquet", with_users(pa.array([b"\xff\xfe"])), "a column of bytes is no UTF-8 text"),
        (
            "events.parquet",
            parquet(pa.Table.from_arrays([pa.array(["u"])] * 2, names=["user_id"] * 2)),
            "names column user_id twice",
        ),
        ("events.csv", lines(HEADER, ROW).decode().encode("utf-16-le"), "UTF-16"),
        ("events.csv", b"PK\x03\x04" + bytes(99), "a zip archive or a spreadsheet"),
        ("events.json", json.dumps(ONE, indent=2).encode(), "no line is a JSON object; one is '{'"),
        ("events.jsonl", b"{'user_id': 'u1'}\n", "no line is a JSON object"),
    ],
    ids=["bytes", "twice", "UTF-16", "zip", "indented", "Python"],
)
def test_what_is_no_table_is_one_sentence(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        ingest(source(tmp_path / "logs", **{name: content}))


def test_a_part_that_is_a_link_to_nothing_is_not_left_out_silently(tmp_path: Path) -> None:
    folder = source(tmp_path / "logs", events__csv=lines(HEADER, ROW))
    (folder / "events.2.csv").symlink_to(folder / "gone.csv")
    with pytest.raises(DataError, match=r"events\.2\.csv begins like the table events and is not read"):
        ingest(folder)


def test_event_types_and_sessions_that_pandas_made_floats_are_numbers(tmp_path: Path) -> None:
    content = lines(f"{HEADER},session", f"{ROW.replace('click', '1.0')},5.0")
    raw = ingest(source(tmp_path / "logs", events__csv=content), {"behaviors": {"1": "rec"}})
    assert events(raw, "behavior", "session") == [("1", "5")]


@pytest.mark.parametrize("value", [[], {}])
def test_an_empty_list_or_object_is_nobody(value: Any, tmp_path: Path) -> None:
    raw = ingest(source(tmp_path / "logs", events__jsonl=as_lines([ONE | {"user_id": value}, ONE])))
    assert events(raw, "user") == [("u1",)]


def test_headers_between_the_rows_are_rejects(tmp_path: Path) -> None:
    twice = gzip.compress(lines(HEADER, ROW)) * 2
    raw = ingest(source(tmp_path / "logs", **{"events.csv.gz": twice}))
    assert events(raw, "user", "line") == [("u1", 2), ("u1", 4)]
    assert [(line, reason) for _, line, reason in raw.rejects] == [(3, "the header once more")]


@pytest.mark.parametrize(
    ("time", "reason"),
    [
        ("11/14/2023 22:13:20", "time is neither a number since 1970 nor ISO 8601"),
        ("15.08.2026 10:00", "time is neither.*Write times as ISO 8601: 2026-08-15T10:00"),
        ("2083-01-01T10:00", "timestamp in the future"),
        ("3566000000", "timestamp in the future"),
        ("3566000000000", "timestamp in the future"),
        ("20231114", "time is a day in digits: 2026-01-02 is expected instead of 20260102"),
    ],
)
def test_times_that_no_unit_explains(time: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"(?s)The most frequent reason \(1 row\): {reason}"):
        ingest(source(tmp_path / "logs", events__csv=lines(HEADER, ROW.replace("1700000000", time))))


def test_the_rows_that_are_shown_are_those_of_the_most_frequent_reason(tmp_path: Path) -> None:
    late = ROW.replace("1700000000", "3566000000")
    content = lines(HEADER, *[ROW.replace("u1", "")] * 11, *[late] * 12)
    with pytest.raises(DataError) as error:
        ingest(source(tmp_path / "logs", events__csv=content), share=0.1)
    told = error.value.full_message
    assert "The most frequent reason (12 rows): timestamp in the future. Other reasons: no user_id (11)." in told
    assert "  line 13: timestamp in the future" in told
    assert "line 2:" not in told


def test_rows_with_another_delimiter_than_the_header(tmp_path: Path) -> None:
    content = lines(HEADER, *[ROW.replace(",", ";")] * 3)
    with pytest.raises(DataError, match=r"(?s)1 field where the header has 5, parted by ','.*one delimiter"):
        ingest(source(tmp_path / "logs", events__csv=content), share=0.1)


def test_a_word_that_means_1970_is_no_day_in_digits(tmp_path: Path) -> None:
    times = ("2023-11-14T22:13:20Z", "epoch")
    content = lines(HEADER, *(ROW.replace("1700000000", time) for time in times))
    raw = ingest(source(tmp_path / "logs", events__csv=content))
    assert [reason for _, _, reason in raw.rejects] == ["timestamp before ingest.earliest"]


@pytest.mark.parametrize(
    ("category", "paths"),
    [
        ("[\"Women's\", 'Shoes']", [["Women's", "Shoes"]]),
        ("[None, 'Shoes']", [["Shoes"]]),
        ("['Home > Lamps', 'It\\'s']", [["Home", "Lamps"], ["It's"]]),
        ("[['Home', 'Lamps'], ['New']]", [["Home", "Lamps"], ["New"]]),
        ("[it's new]", [["[it's new]"]]),
    ],
)
def test_lists_as_python_writes_them(category: str, paths: list[list[str]], tmp_path: Path) -> None:
    quoted = category.replace('"', '""')
    items = lines("item_id,category,description", f'i1,"{quoted}","[\'one\', ""it\'s two""]"')
    raw = ingest(source(tmp_path / "logs", events__csv=lines(HEADER, ROW), items__csv=items))
    assert [(row["category_paths"], row["description"]) for row in raw.rows("items")] == [(paths, "one it's two")]


@pytest.mark.parametrize("sign", ['"', "\n", ";;", "¦", ""])
def test_what_parts_no_fields_is_refused(sign: str) -> None:
    with pytest.raises(ValueError, match=r"logs\.events\.delimiter\n.* is no delimiter\. Give one ASCII character"):
        PipelineConfig.model_validate({"logs": {"events": {"delimiter": sign}}})


SPARK = r"""user_id,item_id,timestamp,query
u1,i1,1700000000,"so-called \"Red, 5\" Shoe\""
u2,i2,1700000001,"C:\new \\"
u3,i3,1700000002,plain
"""


def test_quotes_that_are_escaped_by_a_backslash(tmp_path: Path) -> None:
    folder = source(tmp_path / "logs", events__csv=SPARK.encode())
    texts = ['so-called "red, 5" shoe"', "c:\\new \\", "plain"]
    assert [query for (query,) in events(ingest(folder), "query")] == texts
    given = ingest(folder, {"events": {"quoted": "backslash"}})
    assert [query for (query,) in events(given, "query")] == texts
    doubled = lines("user_id,item_id,timestamp,query", 'u1,i1,1700000000,"C:\\","'.removesuffix(',"'))
    assert events(ingest(source(tmp_path / "other", events__csv=doubled)), "query") == [("c:\\",)]


@pytest.mark.parametrize(
    "before", ['"sep=;"', "sep= ;", "sep=;", "# made by a shop\n#\n\n# for us; all of it", "SEP=;\n# made by a shop"]
)
def test_what_stands_before_the_header(before: str, tmp_path: Path) -> None:
    content = lines(*before.split("\n"), HEADER.replace(",", ";"), ROW.replace(",", ";"))
    plain = events(ingest(source(tmp_path / "plain", events__csv=lines(HEADER, ROW))), "user", "item", "ts", "query")
    raw = ingest(source(tmp_path / "logs", events__csv=content))
    assert events(raw, "user", "item", "ts", "query") == plain
    assert events(raw, "line") == [(before.count("\n") + 2 + 1,)]


def test_comments_between_the_rows_are_rejects(tmp_path: Path) -> None:
    content = lines("# made by a shop", HEADER, ROW, '# 5" and more', ROW, "# the end")
    raw = ingest(source(tmp_path / "logs", events__csv=content))
    assert events(raw, "user", "line") == [("u1", 3), ("u1", 5)]
    assert [(line, reason) for _, line, reason in raw.rejects] == [(4, "a comment line"), (6, "a comment line")]
    with pytest.raises(DataError, match="Remove the lines that begin with #"):
        ingest(source(tmp_path / "logs", events__csv=content), share=0.1)


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ([f"#{HEADER}"], "the header line begins with #"),
        (["Export", HEADER], "no header: Export. A later one looks like it: user_id,item_id"),
        (["// ours", "", HEADER], "the first line is no header: // ours"),
    ],
)
def test_a_header_that_is_no_first_line_is_named(head: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        ingest(source(tmp_path / "logs", events__csv=lines(*head, ROW)))


@pytest.mark.parametrize("name", ["events.2.csv", "events.2.jsonl", "events.2.csv.gz", "events.2.parquet"])
def test_parts_without_rows_are_left_out_and_told(name: str, tmp_path: Path) -> None:
    head = {
        "csv": lines(HEADER),
        "jsonl": b"\n \n",
        "gz": gzip.compress(b""),
        "parquet": parquet(pa.Table.from_pylist(LOG).slice(0, 0)),
    }
    for content in (b"", head[name.split(".")[-1]]):
        folder = source(tmp_path / f"logs{len(content)}", **{"events.1.csv": lines(HEADER, ROW), name: content})
        raw = ingest(folder)
        assert len(events(raw, "user")) == 1
        entries = [entry for entry in raw.manifest["files"] if entry["name"] != "items.csv"]
        assert [(entry["name"], entry.get("empty")) for entry in entries] == [("events.1.csv", None), (name, True)]


def test_parts_of_which_none_has_a_row_are_an_error(tmp_path: Path) -> None:
    folder = source(tmp_path / "logs", **{"events.1.csv": b"", "events.2.csv": lines(HEADER)})
    with pytest.raises(DataError, match=r"events\.1\.csv: the file holds .* no row of data"):
        ingest(folder)


@pytest.mark.parametrize("value", [["u1"], {"id": "u1"}, {"$oid": "5f"}])
@pytest.mark.parametrize("role", ["user_id", "item_id"])
def test_ids_that_are_lists_or_objects_are_rejects(value: Any, role: str, tmp_path: Path) -> None:
    raw = ingest(source(tmp_path / "logs", events__jsonl=as_lines([ONE, ONE | {role: value}])))
    reason = f"{role} is a list or an object: one id is expected"
    assert [(line, said) for _, line, said in raw.rejects] == [(2, reason)]


def test_ids_in_brackets_are_ids(tmp_path: Path) -> None:
    names = ["[deleted]", "{f81d4fae}", "[", "{"]
    raw = ingest(source(tmp_path / "logs", events__jsonl=as_lines([ONE | {"user_id": name} for name in names])))
    assert [user for (user,) in events(raw, "user")] == names
