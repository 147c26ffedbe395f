"""The Parquet files of a prepared dataset: their schemas, and a writer whose bytes depend only on the rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.core.sql_runner import query

_ROW_GROUP = 131_072

ITEMS = pa.schema(
    [
        ("item_idx", pa.int32()),
        ("raw_id", pa.string()),
        ("title", pa.string()),
        ("brand", pa.string()),
        ("description", pa.string()),
        ("category_text", pa.string()),
        ("category_paths", pa.list_(pa.list_(pa.string()))),
    ]
)
USERS = pa.schema([("user_idx", pa.int32()), ("raw_id", pa.string())])
QUERIES = pa.schema([("query_idx", pa.int32()), ("text", pa.string())])
EVENTS = pa.schema(
    [
        ("user_idx", pa.int32()),
        ("item_idx", pa.int32()),
        ("behavior", pa.string()),
        ("query_idx", pa.int32()),
        ("ts", pa.int64()),
        ("source_row", pa.int64()),
    ]
)
SAMPLES = pa.schema(
    [
        ("sample_id", pa.string()),
        ("task", pa.string()),
        ("user_idx", pa.int32()),
        ("item_idx", pa.int32()),
        ("query_idx", pa.int32()),
        ("ts", pa.int64()),
        ("history_end", pa.int64()),
    ]
)
CANDIDATES = pa.schema([("sample_id", pa.string()), ("protocol", pa.string()), ("item_idx", pa.list_(pa.int32()))])
GRAPH = pa.schema([("user_idx", pa.int32()), ("item_idx", pa.int32())])
ITEM_QUERIES = pa.schema([("item_idx", pa.int32()), ("query_idx", pa.int32())])
IMPRESSIONS = pa.schema(
    [
        ("list_idx", pa.int32()),
        ("user_idx", pa.int32()),
        ("behavior", pa.string()),
        ("query_idx", pa.int32()),
        ("ts", pa.int64()),
        ("item_idx", pa.int32()),
        ("position", pa.int32()),
        ("source_row", pa.int64()),
    ]
)

#: Every Parquet file of a prepared folder.
TABLES: dict[str, pa.Schema] = {
    "items": ITEMS,
    "users": USERS,
    "queries": QUERIES,
    "events": EVENTS,
    "samples_train": SAMPLES,
    "samples_valid": SAMPLES,
    "samples_test": SAMPLES,
    "candidates_valid": CANDIDATES,
    "candidates_test": CANDIDATES,
    "graph": GRAPH,
    "item_queries": ITEM_QUERIES,
    "impressions": IMPRESSIONS,
}

#: Files that a dataset may lack: queries made of an item's categories, and what was shown beside what was taken.
OPTIONAL = frozenset({"item_queries", "impressions"})


def rows_of(
    con: duckdb.DuckDBPyConnection, name: str, params: dict[str, Any] | None = None
) -> Iterator[pa.RecordBatch]:
    """Rows of ``sql/<name>.sql`` as a stream of Arrow batches. Read the stream to its end before the next query."""
    yield from con.sql(query(name), params=params or {}).to_arrow_reader(_ROW_GROUP)


def one_row(con: duckdb.DuckDBPyConnection, name: str) -> dict[str, Any]:
    """The single row of ``sql/<name>.sql``, by column name."""
    (row,) = con.sql(query(name)).to_arrow_table().to_pylist()
    return dict(row)


def write(path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> int:
    """Write ``batches``, cast to ``schema``, as one Parquet file. Returns the number of rows.

    Batches are cut anew into row groups of a fixed size, because DuckDB's batch sizes depend on threads and memory. So
    the same rows give the same bytes. Raises pyarrow's errors for a column that does not fit.
    """
    rows, held = 0, 0
    waiting: list[pa.Table] = []
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch in batches:
            table = pa.Table.from_batches([batch]).cast(schema)
            waiting.append(table)
            held += table.num_rows
            rows += table.num_rows
            while held >= _ROW_GROUP:
                joined = pa.concat_tables(waiting).combine_chunks()
                writer.write_table(joined.slice(0, _ROW_GROUP).combine_chunks())
                waiting = [joined.slice(_ROW_GROUP)]
                held -= _ROW_GROUP
        if held:
            writer.write_table(pa.concat_tables(waiting).combine_chunks())
    return rows
