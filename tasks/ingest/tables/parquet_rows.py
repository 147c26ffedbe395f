"""Reads Parquet files, a batch of rows at a time. The place of a row is its number, from 1."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gensr_model.errors import DataError, EmptyFileError
from tasks.core import sql_runner
from tasks.ingest.rejects import REJECTED
from tasks.ingest.tables.values import as_text

_ROWS = 262_144


def schema_of(path: Path) -> pa.Schema:
    """The columns of a file. Raises DataError for a file that is no Parquet, or that names a column twice."""
    with _file(path) as file:
        names = file.schema_arrow.names
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise DataError(f"{path}: the file names column {', '.join(repeated)} twice. Remove all but one.")
        return file.schema_arrow


def paths_of(schema: pa.Schema) -> dict[str, list[str]]:
    """Each column with its ``column.inner`` paths, if it is a struct. Names with a dot have no path."""
    return {
        field.name: [f"{field.name}.{inner.name}" for inner in field.type if "." not in inner.name]
        if pa.types.is_struct(field.type) and "." not in field.name
        else []
        for field in schema
    }


def type_of(schema: pa.Schema, name: str) -> pa.DataType:
    """The type of a column, or of a path into structs such as ``object.id``. Null where there is none."""
    if name in schema.names:
        return schema.field(name).type
    first, *steps = name.split(".")
    kind = schema.field(first).type if first in schema.names else pa.null()
    for step in steps:
        if not pa.types.is_struct(kind) or kind.get_field_index(step) < 0:
            return pa.null()
        kind = kind.field(step).type
    return kind


def is_time(kind: pa.DataType) -> bool:
    """Whether a column's type defines its instants."""
    return pa.types.is_timestamp(kind) or pa.types.is_date(kind)


def parquet_rows(
    con: duckdb.DuckDBPyConnection, path: Path, columns: Mapping[str, str], zone: str = "UTC"
) -> Iterator[tuple[pa.Table, pa.Table]]:
    """(rows, no rejects) per batch. Rows have a text column for each of ``columns`` and ``line_no``.

    A time is text of ms since 1970. A time without a zone is in ``zone``.
    """
    done = 0
    with _file(path) as file:
        schema = file.schema_arrow
        wanted = [name if name in schema.names else name.split(".")[0] for name in columns.values()]
        batches = file.iter_batches(_ROWS, columns=list(dict.fromkeys(wanted)))
        while True:
            try:
                batch = next(batches, None)
            except (OSError, pa.ArrowException) as error:
                raise DataError(f"{path}: the file is damaged after row {done} ({error}). Copy it again.") from error
            if batch is None:
                return
            table = pa.Table.from_batches([batch])
            try:
                texts = {role: _column(con, table, name, zone) for role, name in columns.items()}
            except pa.ArrowInvalid as error:
                raise DataError(
                    f"{path}: a column of bytes is no UTF-8 text, in a row from {done + 1} on ({error}). Write its "
                    "values as text."
                ) from error
            numbers = pa.array(np.arange(len(table), dtype=np.int64) + done + 1)
            done += len(table)
            yield pa.table(texts | {"line_no": numbers}), REJECTED.empty_table()


def _column(con: duckdb.DuckDBPyConnection, table: pa.Table, name: str, zone: str) -> pa.ChunkedArray:
    if pa.types.is_null(type_of(table.schema, name)):
        return pa.chunked_array([pa.nulls(len(table), pa.string())])
    steps = [] if name in table.column_names else name.split(".")[1:]
    column = table[name if not steps else name.split(".")[0]].combine_chunks()
    for step in steps:
        column = pc.struct_field(column, step)
    if pa.types.is_nested(column.type):
        return sql_runner.of_batch(con, "tables/nested_text", pa.table({"value": column}))["value"]
    if column.type == pa.uuid():
        return pa.chunked_array([pa.array([value and str(value) for value in column.to_pylist()], pa.string())])
    if is_time(column.type):
        column = column.cast(pa.timestamp("ms", getattr(column.type, "tz", None)), safe=False)
        if column.type.tz is None:
            column = pc.assume_timezone(column, zone, ambiguous="earliest", nonexistent="latest")
    return as_text(column)


@contextlib.contextmanager
def _file(path: Path) -> Iterator[pq.ParquetFile]:
    if not path.stat().st_size:
        raise EmptyFileError(f"{path}: the file is empty (0 bytes). Copy or export it again.")
    with path.open("rb") as raw:
        try:
            file = pq.ParquetFile(raw)
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{path}: no complete Parquet file ({error}). Copy or export it again.") from error
        yield file
