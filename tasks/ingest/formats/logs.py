"""Own logs: tables of events, items, users and searches in any usual file format, with columns by name or mapping.

``gensr_model/config/logs.py`` defines the config section ``logs``, and ``tasks/ingest/tables`` reads the files.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fnmatch
import functools
import json
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from gensr_model.config.known_formats import FORMATS
from gensr_model.config.layouts import LAYOUTS
from gensr_model.config.logs import LogsConfig
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.errors import DataError
from tasks.core import sql_runner
from tasks.core.dataset_format import Count, DatasetFormat, Files, Preparing, RawTable, Reading
from tasks.ingest.formats.logs_advice import NO_TYPE, advice, explicit, larger_test
from tasks.ingest.formats.logs_prepare import (
    category_searches,
    engagements,
    event_split,
    impressions,
    keeps_both,
    require_joins,
    zone_of_days,
)
from tasks.ingest.rejects import FUTURE, REJECTED, WRONG_UNIT
from tasks.ingest.tables.delimited import COMMENT
from tasks.ingest.tables.roles import REQUIRED, blanks
from tasks.ingest.tables.staged import Staged
from tasks.ingest.tables.table_files import ENDINGS, files_of, label
from tasks.ingest.tables.table_reader import TableReader
from tasks.ingest.tables.values import MISSING

if TYPE_CHECKING:
    from great_expectations import ExpectationSuite

_TEXT, _INT = pa.string(), pa.int64()
EVENTS = pa.schema(
    [
        *[("user", _TEXT), ("item", _TEXT), ("ts", _INT), ("behavior", _TEXT), ("engagement", _TEXT)],
        *[("query", _TEXT), ("query_id", _TEXT), ("session", _TEXT), ("weight", pa.float64()), ("position", _INT)],
        *[("item_title", _TEXT), ("file", _TEXT), ("line", _INT)],
    ]
)
QUERIES = pa.schema([("query_id", _TEXT), ("query", _TEXT), ("user", _TEXT), ("ts", _INT), ("items", pa.list_(_TEXT))])
ITEMS = pa.schema(
    [
        *[("item", _TEXT), ("title", _TEXT), ("brand", _TEXT), ("description", _TEXT)],
        ("category_paths", pa.list_(pa.list_(_TEXT))),
    ]
)
USERS = pa.schema([("user", _TEXT)])
#: What event types mean unless ``logs.behaviors`` says otherwise; case, blanks, - and _ do not count.
_ENGAGED = """add to cart, addtocart, book, bookmark, buy, cart, checkout, click, click through, clickthrough, download,
    favorite, favourite, like, listen, order, play, product click, product view, purchase, purchase complete, rate,
    rating, read, review, save, select item, share, stream, subscribe, transaction, view, view item, watch, wishlist,
    add to wishlist, detail page view"""
_SHOWN = "impression, item impression, search impression"
_IGNORED = """add impression, category page view, dislike, first visit, home page view, login, logout, page view,
    pageview, query, remove from cart, scroll, search, session start, shopping cart page view, user engagement,
    view cart, view item list, view promotion, view search results"""
BEHAVIORS = {
    **{name.strip(): "rec" for name in _ENGAGED.split(",")},
    **{name.strip(): "shown" for name in _SHOWN.split(",")},
    **{name.strip(): "ignored" for name in _IGNORED.split(",")},
}
_USUAL = LogsConfig()
_OF_LAYOUTS = {name for layout in LAYOUTS.values() for name in layout.get("behaviors", {})}
_ZONED = r"\d:\d\d.*([Zz]|[+-]\d\d(:?\d\d)?|[A-Za-z]{3,}\S*)\s*$"  # a time that names its zone
_NUMBER = r"^\s*[-+]?[0-9.]+([eE][-+]?[0-9]+)?\s*$"
_TYPED = {"queries": "logs/queries", "items": "logs/items", "users": "logs/users"}
_ACCEPTS = {"events": EVENTS, "queries": QUERIES, "items": ITEMS, "users": USERS}


def find(folder: Path, logs: LogsConfig = _USUAL) -> Files:
    """Raw table -> its files. Raises DataError where events or items have none, or where a file would not be read."""
    names = {table: getattr(logs, table).name for table in LogsConfig.tables}
    files = {table: files_of(folder, name, tuple(names.values())) for table, name in names.items()}
    if not files["events"]:
        present = ", ".join(path.name for path in sorted(folder.iterdir())[:12]) or "nothing"
        raise DataError(
            f"{folder}: no file of the table events: its name begins with {names['events']} (logs.events.name) "
            f"and ends in one of {ENDINGS}. The folder holds: {present}. "
            f"{_like_a_layout(folder)}"
        )
    return {table: paths for table, paths in files.items() if paths}


def _like_a_layout(folder: Path) -> str:
    """A hint at the layout whose names the files have."""
    names = {name: layout["events"]["name"] for name, layout in LAYOUTS.items()}
    for name, start in names.items():
        if start != "*.json" and any(fnmatch.fnmatch(path.name.casefold(), f"{start}*") for path in folder.iterdir()):
            return f"Files named {start} are of the layout {name}: set logs.layout to {name}."
    return f"Logs in a known layout need its name in logs.layout: {', '.join(names)}."


def configured(config: PipelineConfig) -> Reading:
    """The reading with the config's names of files, columns and event types."""
    tables = tuple(
        t._replace(
            blocks=functools.partial(_BLOCKS[t.name], config.logs),
            # A file of JSON lines with several kinds of documents may lack this kind.
            optional=t.optional or getattr(config.logs, t.name).lines is not None,
        )
        for t in READING.tables
    )
    return dataclasses.replace(READING, tables=tables, find=lambda folder: find(folder, config.logs))


def event_blocks(
    logs: LogsConfig, con: duckdb.DuckDBPyConnection, path: Path, bounds: dict[str, int]
) -> Generator[tuple[pa.Table, pa.Table], None, dict[str, Any]]:
    """Accepted events and rejected lines of a file. Returns how the file was read.

    The file is read once, and its rows a second time when the unit of its times and its event types are known.
    """
    reader = TableReader(con, path, "events", logs.events)
    con.execute("set TimeZone = ?", [logs.events.time_zone])
    ((temp,),) = con.execute("select current_setting('temp_directory')").fetchall()
    staged, units, types = Staged(Path(temp)), Counter[str](), Counter[str]()
    untyped, zoned = 0, True
    given = "iso" if logs.events.time_format else logs.events.time_unit
    for rows, broken in reader.batches():
        if len(broken):
            yield _none(EVENTS), broken
        staged.add(rows)
        types.update(_counted(rows["behavior"]))
        untyped += rows["behavior"].null_count
        zoned = zoned and pc.all(pc.match_substring_regex(rows["time"].slice(0, 100), _ZONED)).as_py() is not False
        if given == "auto" and reader.time_unit is None:
            timed = _with_number(con, rows.select(["time"]))
            units.update(sql_runner.of_batch(con, "logs/time_units", timed, bounds).to_pylist()[0])
    if untyped and "behavior" in reader.columns:
        types[NO_TYPE] += untyped
    detected = [unit for unit, count in units.most_common(1) if count]
    unit = reader.time_unit or (given if given != "auto" else detected[0] if detected else "ms")
    meaning = _event_types(logs, types, path)
    read_as = unit if detected or given != "auto" or reader.time_unit else "none"
    form = logs.events.time_format if unit == "iso" else None
    params = {"unit": read_as, "format": form, **bounds, **{role: reader.name_of(role) for role in REQUIRED["events"]}}
    for rows in staged:
        engagement = _engagements(rows, meaning, logs.events.without_item)
        timed = _with_number(con, rows.append_column("engagement", engagement))
        typed = sql_runner.of_batch(con, "logs/events", timed, params)
        columns = {name: (typed if name in typed.column_names else timed)[name] for name in _none(EVENTS).column_names}
        yield _split(pa.table(columns | {"reason": typed["reason"], "excerpt": typed["excerpt"]}))
    how = "its type" if reader.time_unit else "found" if given == "auto" else "named in the config"
    own = logs.behaviors.keys() - _OF_LAYOUTS
    seen = {name.lower() for name in types}
    return reader.facts | {
        "behaviors_without_rows": sorted(name for name in own if name.lower() not in seen),
        "time_unit": {
            "unit": unit,
            "why": how,
            "credible": {u: n for u, n in units.items() if n},
        }
        | ({"read_in": logs.events.time_zone} if unit == "iso" and not zoned else {}),
        "event_types": {name: {"rows": n, "behavior": meaning[name]} for name, n in sorted(types.items())},
        "untyped": 0 if NO_TYPE in logs.behaviors else types[NO_TYPE],
    }


def _event_types(logs: LogsConfig, types: Counter[str], path: Path) -> dict[str, str]:
    """The meaning of each event type of a file. Raises DataError for an unknown type."""
    given = {name.lower(): behavior for name, behavior in logs.behaviors.items()}
    known: dict[str, str] = {}
    unknown: dict[str, str] = {}
    for name in types:
        plain = " ".join(name.lower().replace("_", " ").replace("-", " ").split())
        meaning = given.get(name.lower()) or ("ignored" if name == NO_TYPE else BEHAVIORS.get(plain))
        if meaning is None:
            unknown[name] = f"{types[name]:,} row{'s' if types[name] > 1 else ''}"
        else:
            known[name] = meaning
    if unknown:
        shown = ", ".join(f"{name} ({rows})" for name, rows in sorted(unknown.items())[:20])
        error = DataError(
            f"{path}: unknown event types: {shown}. Say in logs.behaviors what each is, as "
            f"{{{json.dumps(min(unknown), ensure_ascii=False)}: MEANING}}: rec for an engagement such as a click (with "
            "a query it is a search), src for an engagement in a search, shown for an impression, ignored for all "
            "else, such as the search itself."
        )
        error.blanks = {
            f"logs.behaviors.{name}": f"{rows}: rec, src, shown or ignored" for name, rows in unknown.items()
        }
        raise error
    return known


def outline(folder: Path, config: PipelineConfig, temp: Path) -> dict[str, Any]:
    """What ``explicit`` reads, from the beginnings of files that the check cannot read yet.

    ``blanks`` has the columns that a person has to name.
    """
    result: dict[str, Any] = {"tables": [], "columns": [], "time_units": []}
    result |= {"unused": {}, "event_types": {}, "blanks": {}}
    with sql_runner.connect(config.prepare, temp) as con:
        for table, paths in find(folder, config.logs).items():
            result["tables"].append({"table": table, "rows": None, "files": len(paths)})
            roles: dict[tuple[str, ...], dict[str, Any]] = {}
            for path in paths:
                reader = TableReader(con, path, table, getattr(config.logs, table), required=False)
                for role, column in reader.columns.items():
                    row = {"table": table, "role": role, "columns": list(column.names), "why": column.why, "files": 0}
                    roles.setdefault((role, *column.names), row)["files"] += 1
                lacking = [role for role in REQUIRED[table] if role not in reader.columns]
                result["unused"].setdefault(table, reader.facts["unused"])
                result["blanks"] |= blanks(table, lacking, reader.shown)
            result["columns"] += roles.values()
    return result


def _engagements(rows: pa.Table, meaning: dict[str, str], without_item: str) -> pa.ChunkedArray:
    """The meaning of each row's event. Where no column has types, every event is an engagement."""
    place = pc.index_in(rows["behavior"], pa.array(meaning, _TEXT))
    engagement = pc.fill_null(pc.take(pa.array(meaning.values(), _TEXT), place), meaning.get(NO_TYPE, "rec"))
    return pc.if_else(pc.is_null(rows["item"]), "ignored", engagement) if without_item == "ignored" else engagement


def _with_number(con: duckdb.DuckDBPyConnection, rows: pa.Table) -> pa.Table:
    """The rows with ``number``, their times as numbers."""
    times = rows["time"]
    number = None
    if pc.any(pc.match_substring_regex(times.slice(0, 100), _NUMBER)).as_py():
        with contextlib.suppress(pa.ArrowInvalid):  # not all are integers
            number = times.cast(pa.int64())
    elif not pc.any(pc.match_substring_regex(times, _NUMBER)).as_py():
        number = pa.nulls(len(rows), pa.int64())
    if number is None:
        number = sql_runner.of_batch(con, "tables/numbers", rows.select(["time"]), {})["number"]
    return rows.append_column("number", number)


def _counted(column: pa.ChunkedArray) -> dict[str, int]:
    counted = pc.value_counts(column.drop_null())
    return {row["values"]: row["counts"] for row in counted.to_pylist()}


def table_blocks(
    table: str, logs: LogsConfig, con: duckdb.DuckDBPyConnection, path: Path, bounds: dict[str, int]
) -> Generator[tuple[pa.Table, pa.Table], None, dict[str, Any]]:
    """Accepted rows and rejected lines of a file of queries, items or users. Returns how the file was read."""
    reader = TableReader(con, path, table, getattr(logs, table))
    con.execute("set TimeZone = ?", [logs.events.time_zone])
    key = REQUIRED[table][0]
    params: dict[str, Any] = {key: reader.name_of(key)}
    params |= bounds if table == "queries" else {}
    if table != "users":
        params["missing"] = MISSING.to_pylist()
    for rows, broken in reader.batches():
        accepted, rejected = _split(sql_runner.of_batch(con, _TYPED[table], rows, params))
        yield accepted, pa.concat_tables([broken, rejected])
    return reader.facts


def _split(rows: pa.Table) -> tuple[pa.Table, pa.Table]:
    if rows["reason"].null_count == len(rows):
        return rows, REJECTED.empty_table()
    good = pc.is_null(rows["reason"])
    return rows.filter(good), rows.filter(pc.invert(good)).select(REJECTED.names).cast(REJECTED)


def _none(schema: pa.Schema) -> pa.Table:
    """No row of a table, as its blocks are: without ``file``, which the caller adds."""
    return pa.schema([field for field in schema if field.name != "file"]).empty_table()


def suites(earliest_ms: int, latest_ms: int) -> dict[str, ExpectationSuite]:
    """Expectations that prepare relies on, by raw table."""
    from expectations import raw_logs

    return raw_logs.suites(earliest_ms, latest_ms)


# --- the entry ----------------------------------------------------------------------------------------------------


def _blocks_of(table: str) -> Any:
    return event_blocks if table == "events" else functools.partial(table_blocks, table)


_BLOCKS = {table: _blocks_of(table) for table in LogsConfig.tables}


def _default_blocks(table: str) -> Any:
    return functools.partial(_BLOCKS[table], _USUAL)


READING = Reading(
    tables=tuple(
        RawTable(
            table,
            _ACCEPTS[table],
            _default_blocks(table),
            optional=table in ("queries", "users"),
            distinct=table in ("items", "users"),
        )
        for table in LogsConfig.tables
    ),
    find=find,
    marks=("events*", "ubi*", "interactions*", "user_events*", "*.inter"),
    configured=configured,
    label=label,
    hints={
        COMMENT: "Remove the lines that begin with #, or raise ingest.max_reject_share.",
        "time is n": "Write times as ISO 8601: 2026-08-15T10:00 for 15.08.2026 10:00. Or set logs.events.time_format, "
        "for this time to '%d.%m.%Y %H:%M'.",
        WRONG_UNIT: "Write all times of the file in one unit. If all are in one, set logs.events.time_unit to it.",
        "no ": "If another column stands in for it, name both in the table's columns, such as user: [customer, "
        "session]. Else repair the file, or raise ingest.max_reject_share to leave these rows out.",
        "1 field where": "Give the header and the rows one delimiter, which logs.<table>.delimiter may name.",
        FUTURE: "Correct these times, or raise ingest.max_reject_share if these rows may be left out.",
    },
)
PREPARING = Preparing(
    tables=("events", "queries", "items"),
    interactions=(
        engagements,
        "logs/interactions",
        Count("read", "logs/read_counts"),
        impressions,
        "logs/drop_engagements",
        require_joins,
    ),
    searches=(category_searches,),
    item_text=("logs/item_text",),
    event_split=(event_split,),
    files=(("item_queries", "amazon/files/item_queries"),),
    days=zone_of_days,
    both_behaviors=keeps_both,
    may_lack_task=True,
)
FORMAT = DatasetFormat(
    facts=FORMATS["logs"],
    reading=READING,
    preparing=PREPARING,
    suites=suites,
    advice=advice,
    larger_test=larger_test,
    explicit=explicit,
    outline=outline,
)
