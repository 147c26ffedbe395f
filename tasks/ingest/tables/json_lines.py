"""JSON lines by DuckDB: a value of any type becomes text, and a path such as ``object.id`` leads into objects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gensr_model.errors import DataError, EmptyFileError
from tasks.core import sql_runner
from tasks.ingest.raw_files import is_utf8
from tasks.ingest.rejects import REJECTED
from tasks.ingest.tables.text_chunks import Chunk, chunks

_SAMPLE = 10_000  # lines
_BATCH = 8_192  # lines that one thread of DuckDB takes at a time


def keys_of(con: duckdb.DuckDBPyConnection, path: Path, step: str | None = None) -> dict[str, list[str]]:
    """The keys of the objects in the first lines of a file, after ``step``. Each has its ``key.inner`` paths, if its
    values are objects.

    Raises DataError where the file is one JSON document, or no JSON.
    """
    first = next(chunks(path))
    if first.text.lstrip()[:1] == b"[":
        raise DataError(f"{path}: the file is a JSON array. Expected: JSON lines, one object a line.")
    sample = _lines(first)[0].slice(0, _SAMPLE)
    if first.last and not first.text.strip():
        raise EmptyFileError(f"{path}: the file holds no lines. Copy or export it again.")
    lines = _after(con, sample, step)
    keys: dict[str, list[str]] = {key: [] for key in _query(con, "tables/json_keys", lines)["key"].to_pylist()}
    for row in _query(con, "tables/json_inner_keys", lines).to_pylist():
        keys[row["key"]].append(row["path"])
    if not keys and len(sample) and not len(_query(con, "tables/json_keys", sample)):
        line = sample["line"][0].as_py().strip()
        raise DataError(
            f"{path}: no line is a JSON object; one is {line[:60]!r}. Expected: JSON lines, one object a line."
        )
    return keys


def json_path(name: str, keys: Sequence[str]) -> str:
    """DuckDB's path to a column: a key with this exact name, or keys of nested objects with dots between."""
    steps = [name] if name in keys or "." not in name else name.split(".")
    if '"' in name:  # no step of a path may hold one; one of a pointer may
        return "".join(f"/{step.replace('~', '~0').replace('/', '~1')}" for step in steps)
    return "$" + "".join(f'."{step}"' for step in steps)


def json_rows(
    con: duckdb.DuckDBPyConnection, path: Path, paths: Mapping[str, str], step: str | None = None
) -> Iterator[tuple[pa.Table, pa.Table]]:
    """(rows, rejects) per chunk. Rows have a text column for each of ``paths``, by its name, and ``line_no``.

    ``step`` names the query ``tables/lines_<step>``, which transforms each block of lines first.
    """
    params = {"paths": list(paths.values())}
    for chunk in chunks(path):
        lines, broken = _lines(chunk)
        lines = _after(con, lines, step)
        try:
            result = _query(con, "tables/json_lines_clean", lines, params)
        except duckdb.InvalidInputException:  # a line is no JSON
            result = _query(con, "tables/json_lines", lines, params)
            bad = result.filter(pc.is_valid(result["reason"]))
            broken = pa.concat_tables([broken, bad.select(REJECTED.names).cast(REJECTED)])
            result = result.filter(pc.is_null(result["reason"]))
        columns = {name: pc.list_element(result["fields"], n) for n, name in enumerate(paths)}
        yield pa.table(columns | {"line_no": result["line_no"]}), broken


def _after(con: duckdb.DuckDBPyConnection, lines: pa.Table, step: str | None) -> pa.Table:
    """The lines after a query of ``sql/tables`` that makes lines of one row each."""
    return lines if step is None else _query(con, f"tables/lines_{step}", lines)


def _query(
    con: duckdb.DuckDBPyConnection, name: str, lines: pa.Table, params: dict[str, list[str]] | None = None
) -> pa.Table:
    con.register("batch", pa.Table.from_batches(lines.to_batches(_BATCH), lines.schema))
    try:
        return sql_runner.to_arrow(con, name, params)
    finally:
        con.unregister("batch")


def _lines(chunk: Chunk) -> tuple[pa.Table, pa.Table]:
    """The lines that are not blank with their numbers, and separately those that are not UTF-8."""
    ends = np.flatnonzero(np.frombuffer(chunk.text, np.uint8) == 10) + 1
    offsets = pa.py_buffer(np.concatenate([[0], ends]).astype(np.int32))
    numbers = pa.array(np.arange(len(ends), dtype=np.int64) + chunk.first_line)
    broken = REJECTED.empty_table()
    if is_utf8(chunk.text):
        lines = pa.StringArray.from_buffers(len(ends), offsets, pa.py_buffer(chunk.text))
    else:
        raw = pa.BinaryArray.from_buffers(pa.binary(), len(ends), [None, offsets, pa.py_buffer(chunk.text)]).to_pylist()
        texts = [line.decode("utf-8", "replace") for line in raw]
        bad = [n for n, line in enumerate(raw) if not is_utf8(line)]
        broken = pa.table(
            [numbers.take(bad), pa.repeat("not UTF-8", len(bad)), pa.array([texts[n] for n in bad], pa.string())],
            schema=REJECTED,
        )
        good = pa.array(sorted(set(range(len(raw))) - set(bad)), pa.int64())
        lines, numbers = pa.array(texts, pa.string()).take(good), numbers.take(good)
    table = pa.table({"line": lines, "line_no": numbers})
    short = pc.less_equal(pc.binary_length(lines), 2)
    if pc.any(short).as_py():  # blank lines, or lines of blanks
        table = table.filter(pc.not_equal(pc.utf8_trim_whitespace(lines), ""))
    return table, broken
