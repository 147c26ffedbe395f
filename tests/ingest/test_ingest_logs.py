"""Own logs: files of every kind, columns by name, units of time, missing ids, and what is rejected and why."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from ingest_inputs import Raw, lines

from gensr_model.config.pipeline import PipelineConfig
from gensr_model.errors import DataError
from tasks.ingest.ingest import build_raw
from tasks.ingest.tables import text_chunks
from tasks.ingest.tables.roles import USUAL, bare

MS = 1_700_000_000_000
HEADER = "user_id,item_id,timestamp,event_type,query"
ROW = "u1,i1,1700000000,click,Red Shoe"
Rows = list[dict[str, Any]]


def source(folder: Path, **files: bytes) -> Path:
    """A folder of files; ``events__csv`` is ``events.csv``. Without an items file there is one of one item."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = folder / name.replace("__", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    if not any(folder.glob("items*")):
        (folder / "items.csv").write_bytes(lines("item_id,title", "i1,Shoe"))
    return folder


def ingest(folder: Path, logs: dict[str, Any] | None = None, share: float = 1.0, cache: Path | None = None) -> Raw:
    out = folder.parent / f"{folder.name}-raw-{len(list(folder.parent.iterdir()))}"
    out.mkdir()
    given = {"format": "logs", "logs": logs or {}, "ingest": {"max_reject_share": share}, "prepare": {"threads": 1}}
    build_raw(PipelineConfig.model_validate(given), folder, out, cache)
    raw = Raw(out)
    assert all(file["accepted"] + file["rejected"] == file["read"] for file in raw.manifest["files"])
    return raw


def events(raw: Raw, *names: str) -> list[tuple[Any, ...]]:
    return [tuple(row[name] for name in names) for row in raw.rows("events")]


def understood(raw: Raw, name: str) -> dict[str, Any]:
    (entry,) = [file for file in raw.manifest["files"] if file["name"] == name]
    result: dict[str, Any] = entry["understood"]
    return result


def table(rows: Rows) -> pa.Table:
    return pa.Table.from_pylist(rows)


def as_csv(rows: Rows) -> bytes:
    sink = pa.BufferOutputStream()
    pacsv.write_csv(table(rows), sink)
    return sink.getvalue().to_pybytes()


def as_parquet(rows: Rows) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table(rows), sink)
    return sink.getvalue().to_pybytes()


def as_lines(rows: Rows) -> bytes:
    return lines(*(json.dumps({k: v for k, v in row.items() if v is not None}, ensure_ascii=False) for row in rows))


def zstd(data: bytes) -> bytes:
    return pa.compress(data, codec="zstd", asbytes=True)


KINDS: dict[str, Callable[[Rows], bytes]] = {
    "csv": as_csv,
    "csv.gz": lambda rows: gzip.compress(as_csv(rows)),
    "csv.zst": lambda rows: zstd(as_csv(rows)),
    "tsv": lambda rows: as_csv(rows).replace(b",", b"\t"),
    "jsonl": as_lines,
    "ndjson.gz": lambda rows: gzip.compress(as_lines(rows)),
    "json.zst": lambda rows: zstd(as_lines(rows)),
    "parquet": as_parquet,
}
LOG: Rows = [
    {"USER_ID": 7, "sku": "a b", "eventTime": 1_700_000_000, "EVENT_TYPE": "Click", "searchQuery": "ＲＥＤ  Straße"},
    {"USER_ID": 8, "sku": "i2", "eventTime": 1_700_000_001, "EVENT_TYPE": "impression", "searchQuery": None},
    {"USER_ID": 9, "sku": "红", "eventTime": 1_700_000_002, "EVENT_TYPE": "add-to-cart", "searchQuery": "红色 "},
]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file_gives_the_same_events(kind: str, tmp_path: Path) -> None:
    raw = ingest(source(tmp_path / "logs", **{f"events.{kind}": KINDS[kind](LOG)}), share=0.0)
    assert events(raw, "user", "item", "ts", "behavior", "engagement", "query") == [
        ("7", "a b", MS, "Click", "rec", "red strasse"),
        ("8", "i2", MS + 1000, "impression", "shown", None),
        ("9", "红", MS + 2000, "add-to-cart", "rec", "红色"),
    ]
    told = understood(raw, f"events.{kind}")
    assert told["columns"]["time"] == {"columns": ["eventTime"], "why": "usual name"}
    assert told["time_unit"] == {"unit": "s", "why": "found", "credible": {"s": 3}}
    assert told["event_types"]["Click"] == {"rows": 1, "behavior": "rec"}


@pytest.mark.parametrize(
    ("times", "unit", "expected"),
    [
        (["1700000000", "1700000000.25", "1.7e9"], "s", [MS, MS + 250, MS]),
        (["0", "1700000000000", "1700000000001"], "ms", [MS, MS + 1]),
        (["1700000000000999", "1700000000001000"], "us", [MS, MS + 1]),
        (["1700000000123000000", "1700000000123999999"], "ns", [MS + 123, MS + 123]),
        (["2023-11-14T22:13:20Z", "2023-11-14T23:13:20+0100", "2023-11-14 22:13:20"], "iso", [MS, MS, MS - 3_600_000]),
        (["x", "", "1700000000", "1700000000", "1700000000000"], "s", [MS, MS]),
    ],
)
def test_the_unit_of_the_whole_column(times: list[str], unit: str, expected: list[int], tmp_path: Path) -> None:
    folder = source(tmp_path / "logs", events__csv=lines("user_id,item_id,ts", *(f"u,i1,{time}" for time in times)))
    raw = ingest(folder, {"events": {"time_zone": "Europe/Berlin"}})
    assert [ts for (ts,) in events(raw, "ts")] == expected
    assert understood(raw, "events.csv")["time_unit"]["unit"] == unit


def test_the_unit_is_that_of_most_rows_even_where_the_first_block_has_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_chunks, "CHUNK", 64)
    rows = [f"u,i1,{1_700_000_000 + n}" for n in range(9)] + [f"u,i1,{MS + n}" for n in range(20)]
    raw = ingest(source(tmp_path / "logs", events__csv=lines("user_id,item_id,ts", *rows)))
    assert events(raw, "ts") == [(MS + n,) for n in range(20)]
    assert {reason for _, _, reason in raw.rejects} == {"timestamp in the wrong unit: s, and the file is in ms"}
    named = ingest(tmp_path / "logs", {"events": {"time_unit": "s"}})
    assert len(named.rows("events")) == 9
    assert understood(named, "events.csv")["time_unit"]["why"] == "named in the config"


@pytest.mark.parametrize("missing", ["", "null", "NaN", "nan", "NaT", "None", "NULL", "\\N", "  "])
@pytest.mark.parametrize("role", ["user_id", "item_id"])
def test_a_missing_id_is_a_reject_and_never_somebody(missing: str, role: str, tmp_path: Path) -> None:
    row = ROW.replace("u1" if role == "user_id" else "i1", missing)
    raw = ingest(source(tmp_path / "logs", events__csv=lines(HEADER, ROW, row)))
    assert raw.rejects == [("events.csv", 3, f"no {role}")]
    assert events(raw, "user", "item") == [("u1", "i1")]


@pytest.mark.parametrize("text", ["", "NaN", "null", "\\N", "None"])
def test_a_missing_query_is_a_recommendation(text: str, tmp_path: Path) -> None:
    raw = ingest(source(tmp_path / "logs", events__csv=lines(HEADER, ROW.replace("Red Shoe", text))), share=0.0)
    assert events(raw, "query") == [(None,)]


def test_ignored_events_need_no_ids(tmp_path: Path) -> None:
    raw = ingest(source(tmp_path / "logs", events__csv=lines(HEADER, ROW, ",,,page_view,")), share=0.0)
    assert raw.account("events.csv") == (2, 2, 0)


def test_ids_that_pandas_made_floats_join_those_that_are_numbers(tmp_path: Path) -> None:
    rows = [{"user_id": 1.0, "item_id": 12.0, "ts": 1.7e12}, {"user_id": None, "item_id": 13.0, "ts": 1.7e12}]
    raw = ingest(source(tmp_path / "logs", events__parquet=as_parquet(rows)))
    assert events(raw, "user", "item", "ts") == [("1", "12", MS)]
    assert raw.rejects == [("events.parquet", 2, "no user_id")]
    as_text = lines("user_id,item_id,ts", "1.0,12.0,1700000000000.0", "v1.0,13,1700000000000")
    raw = ingest(source(tmp_path / "text", events__csv=as_text))
    assert events(raw, "user", "item", "ts") == [("1", "12", MS), ("v1.0", "13", MS)]


def test_a_required_column_that_is_not_found_is_an_error_with_the_nearest(tmp_path: Path) -> None:
    folder = source(tmp_path / "logs", events__csv=lines("buyer,usr_id,product,ts,note", "a,b,c,1700000000,d"))
    headless = source(tmp_path / "headless", events__csv=lines("u1,i1,1700000000"))
    with pytest.raises(DataError, match=r"If the first line is data, name the columns in the table's header"):
        ingest(headless)
    with pytest.raises(DataError) as error:
        ingest(folder)
    assert "no column of the events has a usual name of the role user" in error.value.full_message
    assert "Columns: buyer, usr_id, product, ts, note. Nearest: usr_id, " in error.value.full_message
    assert (
        "logs.events.columns.user. Beside it these are not found: item (nearest: product, " in error.value.full_message
    )
    mapped = {"events": {"columns": {"user": "buyer", "item": "product"}}}
    assert events(ingest(folder, mapped), "user", "item") == [("a", "c")]


def test_the_page_has_the_usual_names() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "own_logs.md").read_text(encoding="utf-8")
    known: dict[str, set[str]] = {}
    for table_of in USUAL.values():
        for role, names in table_of.items():
            known.setdefault(role, set()).update(bare(name) for name in names if name != "id" and role != "item_title")
    told: dict[str, set[str]] = {}
    for roles, names in re.findall(
        r"^\| (\w+(?:, \w+)*)(?:, in `\w+`)? \| (`.*`) \|$", page.partition("| role |")[2], re.MULTILINE
    ):
        given = {bare(name) for name in re.findall(r"`([^`]+)`", names)}
        told |= {role: {role} & given if "," in roles else given for role in roles.split(", ")}
    assert {role: told.get(role) for role in known if known[role]} == {r: n for r, n in known.items() if n}


def test_common_names_of_other_programs_and_languages(tmp_path: Path) -> None:
    head = "user_pseudo_id,item_id,event_timestamp,event_name,search_term"
    items = lines("Item ID,Título,Kategorie", "i1,Shoe,a > b")
    raw = ingest(
        source(tmp_path / "logs", events__csv=lines(head, "u1,i1,1700000000000000,view_item,Red"), items__csv=items)
    )
    assert events(raw, "user", "ts", "behavior", "query") == [("u1", MS, "view_item", "red")]
    assert [(row["title"], row["category_paths"]) for row in raw.rows("items")] == [("Shoe", [["a", "b"]])]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_mapped_column_that_is_not_there_is_an_error(kind: str, tmp_path: Path) -> None:
    folder = source(tmp_path / "logs", **{f"events.{kind}": KINDS[kind](LOG)})
    with pytest.raises(DataError, match=r"logs.events.columns.query names 'text', which is no column"):
        ingest(folder, {"events": {"columns": {"query": "text"}}})


def test_an_unknown_event_type_is_an_error_until_it_is_mapped(tmp_path: Path) -> None:
    folder = source(tmp_path / "logs", events__csv=lines(HEADER, ROW, ROW.replace("click", "Wink")))
    with pytest.raises(DataError, match=r'unknown event types: Wink \(1 row\).*logs.behaviors.*{"Wink": MEANING}'):
        ingest(folder)
    raw = ingest(folder, {"behaviors": {"wink": "ignored", "click": "src"}})
    assert events(raw, "engagement") == [("src",), ("ignored",)]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_row_without_a_type_is_no_engagement_until_it_is_mapped(kind: str, tmp_path: Path) -> None:
    rows: Rows = [{"user_id": "u", "item_id": "i1", "ts": MS, "action": name} for name in ("click", None, "click", "")]
    folder = source(tmp_path / "logs", **{f"events.{kind}": KINDS[kind](rows)})
    raw = ingest(folder)
    assert events(raw, "behavior", "engagement") == [("click", "rec"), (None, "ignored")] * 2
    told = understood(raw, f"events.{kind}")
    assert told["event_types"] == {
        "(no type)": {"rows": 2, "behavior": "ignored"},
        "click": {"rows": 2, "behavior": "rec"},
    }
    assert raw.account(f"events.{kind}") == (4, 4, 0)
    assert told["untyped"] == 2
    raw = ingest(folder, {"behaviors": {"(no type)": "src"}})
    assert events(raw, "engagement") == [("rec",), ("src",)] * 2
    told = understood(raw, f"events.{kind}")
    assert (told["untyped"], told["behaviors_without_rows"]) == (0, [])


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_columns_within_objects_are_found_and_shown(kind: str, tmp_path: Path) -> None:
    rows: Rows = [{"user": {"id": "u1", "age": 3}, "product": {"ean": "i1"}, "ts": MS}]
    folder = source(tmp_path / "logs", **{f"events.{kind}": KINDS[kind](rows)})
    with pytest.raises(DataError, match=r"Columns: (?=.*user\.age)(?=.*product\.ean).* logs.events.columns.item"):
        ingest(folder)
    raw = ingest(folder, {"events": {"columns": {"item": "product.ean"}}})
    assert events(raw, "user", "item") == [("u1", "i1")]
    assert understood(raw, f"events.{kind}")["unused"] == ["user.age"]
    raw = ingest(folder, {"events": {"columns": {"item": "product.ean", "query": "user"}}})
    assert understood(raw, f"events.{kind}")["unused"] == [], "the whole object is read"


def test_a_time_as_the_shop_writes_it(tmp_path: Path) -> None:
    rows = [ROW.replace("1700000000", time) for time in ("14.11.2023 23:13", "2023-11-14T23:13")]
    folder = source(tmp_path / "logs", events__csv=lines(HEADER, *rows))
    logs = {"events": {"time_format": "%d.%m.%Y %H:%M", "time_zone": "Europe/Berlin"}}
    raw = ingest(folder, logs)
    assert events(raw, "ts") == [(1_700_000_000_000 - 20_000,)]
    assert [reason for *_, reason in raw.rejects] == ["time differs from logs.events.time_format"]
    assert understood(raw, "events.csv")["time_unit"]["read_in"] == "Europe/Berlin"
    with pytest.raises(ValueError, match="names no day, month and year"):
        PipelineConfig.model_validate({"format": "logs", "logs": {"events": {"time_format": "%H:%M"}}})


@pytest.mark.parametrize(
    ("time", "zone"), [("2023-11-14", "UTC"), ("2023-11-14 22:13", "UTC"), ("2023-11-14T22:13-01:00", None), (MS, None)]
)
def test_a_zone_that_the_times_do_not_name_is_told(time: str, zone: str | None, tmp_path: Path) -> None:
    raw = ingest(source(tmp_path / "logs", events__csv=lines(HEADER, ROW.replace("1700000000", str(time)))))
    assert understood(raw, "events.csv")["time_unit"].get("read_in") == zone


def test_what_to_do_about_rows_that_cannot_be_used(tmp_path: Path) -> None:
    rows = [ROW, ROW.replace("1700000000", str(MS)), ROW.replace("u1", "")]
    for first, last, hint in (
        (0, 1, "one unit"),
        (0, 2, r"(?s)no user_id.*name both in the table's columns, such as user: \[cust"),
    ):
        folder = source(tmp_path / f"bad{last}", events__csv=lines(HEADER, *[rows[first]] * 3, rows[last]))
        with pytest.raises(DataError, match=hint):
            ingest(folder, share=0.0)
    with pytest.raises(DataError, match=r"1 of 1 rows \(100.0%\) cannot be used\. The most frequent"):
        ingest(source(tmp_path / "none", events__csv=lines(HEADER, rows[2])))


def test_nested_json_and_columns_that_only_later_rows_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_chunks, "CHUNK", 200)
    rows: Rows = [{"user_id": n, "at": {"ts": MS}, "item": {"id": "i1", "tags": ["a"]}} for n in range(20)]
    rows[15]["search_query"] = "late"
    raw = ingest(
        source(tmp_path / "logs", events__jsonl=as_lines(rows) + lines("{", "[1]", "", b"\xff")),
        {"events": {"columns": {"item": "item.id", "time": "at.ts"}}},
    )
    assert [n for n, (query,) in enumerate(events(raw, "query")) if query] == [15]
    assert [(line, reason) for _, line, reason in raw.rejects] == [
        (21, "not a JSON line"),
        (22, "not a JSON object"),
        (24, "not UTF-8"),
    ]


def test_nested_parquet_and_typed_times(tmp_path: Path) -> None:
    stamps = pa.array([MS * 1_000, None], pa.timestamp("us"))
    struct = pa.array([{"id": 5}, {"id": 6}])
    made = pa.table({"uid": ["a", "b"], "object": struct, "created_at": stamps})
    (tmp_path / "logs").mkdir()
    pq.write_table(made, tmp_path / "logs" / "events.parquet")
    logs = {"events": {"columns": {"item": "object.id"}, "time_zone": "Asia/Tokyo"}}
    raw = ingest(source(tmp_path / "logs"), logs)
    assert events(raw, "user", "item", "ts") == [("a", "5", MS - 9 * 3_600_000)]
    assert raw.rejects == [("events.parquet", 2, "no created_at")]


def test_items_with_categories_of_every_kind_and_line_ends_in_quotes(tmp_path: Path) -> None:
    rows = [
        'i1,"A ""shoe"",\nred",Home > Shoes,nan',
        "i2,NaN,\"['Home', 'Lamps']\",x",
        'i3,,"[""Bücher"", null]",',
        "i4,t,,",
        'i5,"open',
    ]
    items = lines("item_id;name;categories;description".replace(";", ","), *rows, "i6,t,a,b", ",t,a,b")
    raw = ingest(source(tmp_path / "logs", events__csv=lines(HEADER, ROW), items__csv=items))
    assert [(r["item"], r["title"], r["category_paths"], r["description"]) for r in raw.rows("items")] == [
        ("i1", 'A "shoe",\nred', [["Home", "Shoes"]], None),
        ("i2", None, [["Home", "Lamps"]], "x"),
        ("i3", None, [["Bücher"]], None),
        ("i4", "t", None, None),
        ("i6", "t", [["a"]], "b"),
    ]
    assert [(line, reason) for _, line, reason in raw.rejects] == [
        (7, "not a line of the table: a quote is never closed"),
        (9, "no item_id"),
    ]


def test_several_columns_are_levels_of_a_category(tmp_path: Path) -> None:
    items = lines("ITEM_ID|CATEGORY_L1|CATEGORY_L2|head|sub", "i1|Home|Lamps|Big|lamp", "i2|Home|||")
    logs = {"items": {"columns": {"category": ["CATEGORY_L1", "CATEGORY_L2"], "title": ["head", "sub"]}}}
    raw = ingest(source(tmp_path / "logs", events__csv=lines(HEADER, ROW), items__txt=items), logs)
    assert [(r["title"], r["category_paths"]) for r in raw.rows("items")] == [
        ("Big lamp", [["Home", "Lamps"]]),
        (None, [["Home"]]),
    ]


def test_bare_quotes_in_a_table_that_has_no_quoting(tmp_path: Path) -> None:
    items = lines("item_id\ttitle", 'i1\t"Nail 5"', 'i2\t"Best', "i3\tx")
    raw = ingest(source(tmp_path / "logs", events__csv=lines(HEADER, ROW), items__tsv=items), share=0.0)
    assert [r["title"] for r in raw.rows("items")] == ['"Nail 5"', '"Best', "x"]
    assert not understood(raw, "items.tsv")["quoted"]


def test_a_broken_line_in_the_middle_costs_that_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_chunks, "CHUNK", 256)
    rows = [f"u{n},i1,1700000000,click,q{n}" for n in range(60)]
    rows[20], rows[30], rows[40] = "u,i1", 'u,i1,1700000000,click,"open', "u,\xff,1700000000,click,".encode("latin-1")
    raw = ingest(source(tmp_path / "logs", events__csv=lines(HEADER, *rows, "")))
    assert [line for _, line, _ in raw.rejects] == [22, 32, 42]
    assert events(raw, "user", "line") == [(f"u{n}", n + 2) for n in range(60) if n not in (20, 30, 40)]


@pytest.mark.parametrize("place", ["item=kindle/[1]/*logs ?", "my logs"])
def test_days_are_parsed_once_whatever_the_folder_is_called(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    plain = text_chunks.chunks

    def spy(path: Path) -> Any:
        read.append(path.name)
        return plain(path)

    monkeypatch.setattr("tasks.ingest.tables.delimited.chunks", spy)
    folder, cache = tmp_path / place, tmp_path / "cache"
    first = {"events/day=2023-11-14/part-0.csv": lines(HEADER, ROW)}
    source(folder, **first)
    ingest(folder, cache=cache)
    second = lines(HEADER, ROW.replace("u1", "u2"))
    source(folder, **{"events/day=2023-11-15/part-0.csv": second, "events/_SUCCESS": b""})
    read.clear()
    grown = ingest(folder, cache=cache)
    assert read == ["part-0.csv"]
    assert events(grown, "user", "file") == [
        ("u1", "events/day=2023-11-14/part-0.csv"),
        ("u2", "events/day=2023-11-15/part-0.csv"),
    ]
    at_once = ingest(folder)
    for name in ("events.parquet", "items.parquet", "rejects.parquet", "manifest.json"):
        assert (grown.folder / name).read_bytes() == (at_once.folder / name).read_bytes()
    assert "day" not in understood(grown, "events/day=2023-11-14/part-0.csv")["unused"]
    hive = ingest(folder, {"events": {"hive": True, "columns": {"session": "day"}}})
    assert events(hive, "session") == [("2023-11-14",), ("2023-11-15",)]
