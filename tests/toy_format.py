"""A data format that is not in the package, as a user has it: one file of clicks and one of things.

``clicks.csv`` has a row per click: user, thing, seconds since 1970, and the query if the click came from a search.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pyarrow as pa

from gensr_model.config.data import GeneratedSource
from gensr_model.config.known_formats import FormatFacts
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.errors import DataError
from tasks.core.dataset_format import Blocks, DatasetFormat, Files, Preparing, RawTable, Reading
from tasks.ingest.csv_blocks import read_csv
from tasks.ingest.rejects import REJECTED

if TYPE_CHECKING:
    from great_expectations import ExpectationSuite

DAYS = 8
CLICKS = pa.schema(
    [("user", pa.string()), ("item", pa.string()), ("ts", pa.int64()), ("query", pa.string()),
     ("file", pa.string()), ("line", pa.int64())]
)  # fmt: skip
THINGS = pa.schema([("item", pa.string()), ("name", pa.string())])
_CLICKS_SQL = """
select "user", thing as item, try_cast(seconds as bigint) * 1000 as ts, nullif(query, '') as query, line_no as line,
    case when coalesce("user", '') = '' then 'no user'
        when coalesce(ts between $earliest and $latest, false) = false then 'no credible time' end as reason,
    concat_ws(',', "user", thing, seconds, query) as excerpt
from batch
"""
_THINGS_SQL = """
select thing as item, name, line_no as line,
    case when coalesce(thing, '') = '' then 'no thing' end as reason, name as excerpt
from batch
"""
_INTERACTIONS_SQL = """
create table interactions as
select "user", item, ts, case when query is null then 'rec' else 'src' end as behavior, query,
    min(file_row_number) as source_row
from raw_clicks
group by all
"""
_ITEM_TEXT_SQL = """
create table item_text as
select item, name as title, null::varchar as brand, null::varchar as description,
    null::varchar[][] as category_paths
from item_rows
"""
_SPLIT_SQL = """
create table event_split as
select position, case (select max(ts // 86400000) from events) - ts // 86400000
    when 0 then 'test' when 1 then 'valid' else 'train' end as split
from events
"""


def find(folder: Path) -> Files:
    files = {"clicks": (folder / "clicks.csv",), "items": (folder / "things.csv",)}
    missing = [path.name for paths in files.values() for path in paths if not path.is_file()]
    if missing:
        raise DataError(f"{folder}: no {', '.join(missing)}.")
    return files


def click_blocks(con: duckdb.DuckDBPyConnection, path: Path, bounds: dict[str, int]) -> Blocks:
    return _blocks(con, path, ("user", "thing", "seconds", "query"), _CLICKS_SQL, bounds)


def thing_blocks(con: duckdb.DuckDBPyConnection, path: Path, bounds: dict[str, int]) -> Blocks:
    return _blocks(con, path, ("thing", "name"), _THINGS_SQL, None)


def _blocks(
    con: duckdb.DuckDBPyConnection, path: Path, columns: tuple[str, ...], query: str, params: dict[str, int] | None
) -> Blocks:
    for batch, broken in read_csv(path, columns):
        con.register("batch", batch)
        rows = con.sql(query, params=params).to_arrow_table()
        con.unregister("batch")
        accepted = pa.compute.is_null(rows["reason"])
        rejected = rows.filter(pa.compute.invert(accepted)).select(REJECTED.names)
        yield rows.filter(accepted), pa.concat_tables([broken, rejected.cast(REJECTED)])


def interactions(con: duckdb.DuckDBPyConnection, config: PipelineConfig, counts: dict[str, Any]) -> None:
    con.execute(_INTERACTIONS_SQL)
    counts["read"] = {"clicks": con.table("raw_clicks").shape[0]}


def item_text(con: duckdb.DuckDBPyConnection, config: PipelineConfig, counts: dict[str, Any]) -> None:
    con.execute(_ITEM_TEXT_SQL)


def event_split(con: duckdb.DuckDBPyConnection, config: PipelineConfig, counts: dict[str, Any]) -> None:
    con.execute(_SPLIT_SQL)


def suites(earliest_ms: int, latest_ms: int) -> dict[str, ExpectationSuite]:
    import great_expectations as gx

    from expectations.common import identified, non_empty, within_time

    clicks = [non_empty("there is a click"), *identified("user"), *within_time("ts", earliest_ms, latest_ms)]
    return {
        "clicks": gx.ExpectationSuite(name="raw_clicks", expectations=clicks),
        "items": gx.ExpectationSuite(name="raw_things", expectations=[*identified("item")]),
    }


def generate(folder: Path, source: GeneratedSource) -> None:
    """Clicks at random, with or without a search for the thing's name."""
    random = np.random.default_rng(source.world_seed)
    names = [f"thing {n} of kind {n % 7}" for n in range(source.items)]
    with (folder / "things.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("thing", "name"), *((f"t{n}", name) for n, name in enumerate(names))])
    rows: list[tuple[object, ...]] = [("user", "thing", "seconds", "query"), ("", "t0", 1_600_000_000, "")]
    for user in range(source.users):
        for click in range(round(source.events_per_user)):
            day, thing = click % DAYS, int(random.integers(source.items))
            second = 1_600_000_000 // 86_400 * 86_400 + day * 86_400 + int(random.integers(86_400))
            rows.append((f"u{user}", f"t{thing}", second, names[thing] if random.random() < 0.5 else ""))
    with (folder / "clicks.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


FORMAT = DatasetFormat(
    facts=FormatFacts("toy", "Toy", "by day", "the last day is test, the day before valid"),
    reading=Reading(
        tables=(RawTable("clicks", CLICKS, click_blocks), RawTable("items", THINGS, thing_blocks, distinct=True)),
        find=find,
    ),
    preparing=Preparing(
        tables=("clicks", "items"), interactions=(interactions,), item_text=(item_text,), event_split=(event_split,)
    ),
    suites=suites,
    generate=generate,
)
