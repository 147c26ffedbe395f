"""JSON lines by DuckDB: a value of any type becomes text, and a path such as ``object.id`` leads into objects."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from gensr_model.errors import DataError, EmptyFileError
from tasks.core import sql_runner
from tasks.core.read_ahead import read_ahead
from tasks.ingest.rejects import AS_UTF8, REJECTED
from tasks.ingest.tables import text_chunks
from tasks.ingest.tables.json_blocks import Blocks, Steps, pointer
from tasks.ingest.tables.text_chunks import Chunk, chunks, lines_of

_SAMPLE, _BEGINNING = 10_000, 4 * 2**20  # lines whose keys are looked for, within so many bytes
_ROWS, _BYTES = 200_000, 64 * 2**20  # of chunks that go on together: each query costs milliseconds
_DEEPEST = 128  # DuckDB's json_structure ends its database where an object is nested deeper
_SIGNS = re.compile(r'"(?:[^"\\]|\\.)*"|[][{}]')  # texts, which may hold brackets, and brackets
_BATCH = 8_192  # lines that one thread of DuckDB takes at a time


def keys_of(con: duckdb.DuckDBPyConnection, path: Path, step: str | None = None) -> dict[str, list[str]]:
    """The keys of the objects in the first lines of a file, after ``step``. Each has its ``key.inner`` paths, if its
    values are objects.

    Raises DataError where the file is one JSON document, or no JSON.
    """
    first = next(chunks(path, min(_BEGINNING, text_chunks.CHUNK)))
    if first.text.lstrip()[:1] == b"[":
        raise DataError(f"{path}: the file is a JSON array. Expected: JSON lines, one object a line.")
    lines, broken = lines_of(first)
    if first.last and not first.text.strip():
        raise EmptyFileError(f"{path}: the file holds no lines. Copy or export it again.")
    if len(broken) and not len(lines):
        raise DataError(f"{path}: no line is UTF-8. {AS_UTF8}")
    sample = lines.slice(0, _SAMPLE)
    structure = _structure(con, _after(con, sample, step))
    if not structure and len(sample) and not _structure(con, sample):
        line = sample["line"][0].as_py().strip()
        raise DataError(
            f"{path}: no line is a JSON object; one is {line[:60]!r}. Expected: JSON lines, one object a line."
        )
    return {
        key: [f"{key}.{name}" for name in inner if _is_step(key) and _is_step(name)] if isinstance(inner, dict) else []
        for key, inner in structure.items()
    }


def _structure(con: duckdb.DuckDBPyConnection, lines: pa.Table) -> dict[str, Any]:
    """The keys of the objects, in the order of their first occurrence. A key has those of its objects or, where it has
    other values too, the name of a type.
    """
    opened = (pc.count_substring(lines["line"], sign) for sign in "[{")
    if pc.any(pc.greater_equal(pc.add(*opened), _DEEPEST)).as_py():
        lines = lines.filter(
            pa.array([_depth(line or "") < _DEEPEST for line in lines["line"].to_pylist()], pa.bool_())
        )
    # In one batch, which one thread reads: the order of keys is that of the lines.
    found = sql_runner.of_batch(con, "tables/json_structure", lines.combine_chunks())["structure"][0].as_py()
    structure = json.loads(found or "{}")
    return structure if isinstance(structure, dict) else {}  # objects without keys are JSON


def _depth(line: str) -> int:
    """How many objects and lists stand within each other."""
    steps = (1 if sign in "[{" else -1 for sign in _SIGNS.findall(line) if sign[0] != '"')
    return max(itertools.accumulate(steps), default=0)


def _is_step(key: str) -> bool:
    return key != "" and "." not in key


def steps_to(name: str, keys: Sequence[str]) -> Steps:
    """The keys that lead to a column: the key of this exact name, else those between the dots."""
    return (name,) if name in keys or "." not in name else tuple(name.split("."))


def json_rows(
    con: duckdb.DuckDBPyConnection, path: Path, paths: Mapping[str, Steps], step: str | None = None
) -> Iterator[tuple[pa.Table, pa.Table]]:
    """(rows, rejects) per some chunks. Rows have a text column for each of ``paths``, by its name, and ``line_no``.

    ``step`` names the query ``tables/lines_<step>``, which transforms each block of lines first.
    """
    return read_ahead(_together(_json_rows(con.cursor(), path, paths, step)))  # a connection is for one thread


def _json_rows(
    con: duckdb.DuckDBPyConnection, path: Path, paths: Mapping[str, Steps], step: str | None
) -> Iterator[tuple[pa.Table, pa.Table]]:
    with contextlib.closing(con):
        sql_runner.run(con, "tables/macros")
        blocks = Blocks(con, paths, step)
        for chunk in read_ahead(chunks(path)):
            rows = blocks.rows(chunk)
            yield (rows, REJECTED.empty_table()) if rows is not None else _line_by_line(con, chunk, paths, step)


def _together(parts: Iterator[tuple[pa.Table, pa.Table]]) -> Iterator[tuple[pa.Table, pa.Table]]:
    """The same rows in larger tables."""
    held: list[tuple[pa.Table, pa.Table]] = []
    for part in parts:
        held.append(part)
        if sum(len(rows) for rows, _ in held) >= _ROWS or sum(rows.nbytes for rows, _ in held) >= _BYTES:
            yield _joined(held)
            held = []
    if held:
        yield _joined(held)


def _joined(parts: list[tuple[pa.Table, pa.Table]]) -> tuple[pa.Table, pa.Table]:
    rows, rejects = zip(*parts, strict=True)
    return pa.concat_tables(rows), pa.concat_tables(rejects)


def _line_by_line(
    con: duckdb.DuckDBPyConnection, chunk: Chunk, paths: Mapping[str, Steps], step: str | None
) -> tuple[pa.Table, pa.Table]:
    params = {"paths": [pointer(steps) for steps in paths.values()]}
    lines, broken = lines_of(chunk)
    lines = _after(con, lines, step)
    result = _query(con, "tables/json_lines", lines, params)
    if result["reason"].null_count < len(result):
        bad = result.filter(pc.is_valid(result["reason"]))
        broken = pa.concat_tables([broken, bad.select(REJECTED.names).cast(REJECTED)])
        result = result.filter(pc.is_null(result["reason"]))
    columns = {name: pc.list_element(result["fields"], n) for n, name in enumerate(paths)}
    return pa.table(columns | {"line_no": result["line_no"]}), broken


def _after(con: duckdb.DuckDBPyConnection, lines: pa.Table, step: str | None) -> pa.Table:
    """The lines after a query of ``sql/tables`` that makes lines of one row each."""
    return lines if step is None else _query(con, f"tables/lines_{step}", lines)


def _query(
    con: duckdb.DuckDBPyConnection, name: str, lines: pa.Table, params: dict[str, list[str]] | None = None
) -> pa.Table:
    return sql_runner.of_batch(con, name, pa.Table.from_batches(lines.to_batches(_BATCH), lines.schema), params)
