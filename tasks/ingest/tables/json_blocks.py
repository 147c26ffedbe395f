"""Reads JSON lines by DuckDB's own reader of files, a chunk at a time: the fast way for regular lines.

What is irregular is left to ``json_lines``, which reads line by line and gives the same values: lines that are no
objects, a key twice in an object, a text where a path leads into objects, floats beyond 1e16 and below 1e-4.
"""

from __future__ import annotations

import functools
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.core import sql_runner
from tasks.ingest.tables.text_chunks import Chunk, lines_of

Steps = tuple[str, ...]  # the keys that lead to a value
_TEXT, _JSON = "VARCHAR", "JSON"
_LONGEST = 2**20  # bytes of a line. A thread of DuckDB takes twice as many at a time.
_WRAPPED = "_source"  # of a line of elasticdump, which has the document within
_NULL = re.compile(rb"^[ \t\r]*null[ \t\r]*$", re.MULTILINE)  # which the reader takes for an object
_EXPONENT = r"^-?[0-9](\.[0-9]+)?e[+-][0-9]+$"  # DuckDB's text of a float, line by line another one
_BOM = b"\xef\xbb\xbf"
_EVENT = ("action_name", "event_attributes")  # UBI: a document with one of them is an event


class Blocks:
    """Chunks of JSON lines as rows with a text column for each of ``paths``, by its name, and ``line_no``.

    ``step`` is that of ``json_lines.json_rows``.
    """

    def __init__(self, con: duckdb.DuckDBPyConnection, paths: Mapping[str, Steps], step: str | None) -> None:
        self._con, self._paths, self._step = con, paths, step
        ((folder,),) = con.execute("select current_setting('temp_directory')").fetchall()
        self._folder = Path(folder)
        self._all = set(paths.values())
        marks = () if step is None else (*_EVENT, _WRAPPED)
        self._columns: dict[str, str] = {}
        self._other_case: list[str] = []
        for key in dict.fromkeys([*(steps[0] for steps in paths.values()), *marks]):
            same = key.lower() in map(str.lower, self._columns)
            self._other_case += [key] if same else []
            self._columns |= {} if same else {key: self._type((key,))}
        self._usable = step in (None, "ubi_events") and self._has_columns()

    def _has_columns(self) -> bool:
        """Whether DuckDB's reader has columns for the paths: their names may not be empty or differ in case alone."""
        inner = {path[:n] for path in self._all for n in range(2, len(path) + 1)}
        return (
            all(map(all, self._all))
            and len({tuple(map(str.lower, steps)) for steps in inner}) == len(inner)
            and all(key.isascii() and (key,) in self._all for key in self._other_case)
        )

    def _type(self, steps: Steps) -> str:
        """The type of a value: a struct where paths lead further, and JSON where one also ends here."""
        inner = dict.fromkeys(path[len(steps)] for path in sorted(self._all) if path[: len(steps)] == steps != path)
        if not inner:
            return _TEXT
        fields = (f'"{key.replace(chr(34), chr(34) * 2)}" {self._type((*steps, key))}' for key in inner)
        return _JSON if steps in self._all else f"STRUCT({', '.join(fields)})"

    def rows(self, chunk: Chunk) -> pa.Table | None:
        """The rows of a chunk. None where a line is irregular."""
        rows = self._read(chunk.text) if self._usable else None
        if rows is None or (self._step is not None and rows[_WRAPPED].null_count < len(rows)):
            return None
        chosen = self._events(rows, chunk.text) if self._step is not None else None
        if len(rows) == chunk.lines and (self._step is None or chosen is not None):
            numbers = pa.array(np.arange(len(rows), dtype=np.int64) + chunk.first_line)
        else:
            lines, _ = lines_of(chunk)
            if len(lines) != len(rows):
                return None
            numbers = lines["line_no"]
            chosen = self._events_by_text(rows, lines) if self._step is not None else None
        if chosen is not None:
            rows, numbers = rows.filter(chosen), numbers.filter(chosen)
        if self._without_values(rows) and _NULL.search(chunk.text):
            return None
        values = {name: self._value(rows, steps) for name, steps in self._paths.items()}
        table = pa.table(values | {"line_no": numbers})
        return None if any(map(_has_exponent, table.columns[:-1])) else table

    def _read(self, text: bytes) -> pa.Table | None:
        """A column for each first key, and a row for each line that is not blank."""
        if b"\x0b" in text or b"\x0c" in text or text.startswith(_BOM):  # DuckDB's reader skips them
            return None
        if any(key.encode() in text for key in self._other_case):
            return None
        self._folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=self._folder, suffix=".ndjson") as file:
            file.write(text)
            file.flush()
            params = {"path": sql_runner.literal(Path(file.name)), "columns": self._columns, "longest": _LONGEST}
            try:
                rows = sql_runner.to_arrow(self._con, "tables/json_block", params)
            except (duckdb.InvalidInputException, UnicodeDecodeError):  # DuckDB's message may end within a letter
                return None
        for key in self._other_case:
            rows = rows.append_column(key, pa.nulls(len(rows), pa.string()))
        return rows

    def _events(self, rows: pa.Table, text: bytes) -> pa.ChunkedArray | None:
        """Whether a line is an event. None where a name of ``_EVENT`` stands elsewhere too."""
        with_value = {key: pc.is_valid(rows[key]) for key in _EVENT}
        plain = all(text.count(f'"{key}"'.encode()) == pc.sum(valid).as_py() for key, valid in with_value.items())
        return pc.or_(*with_value.values()) if plain else None

    def _events_by_text(self, rows: pa.Table, lines: pa.Table) -> pa.ChunkedArray:
        """Whether a line is an event. The query of the step judges those without a value of ``_EVENT``."""
        is_event = pc.or_(*(pc.is_valid(rows[key]) for key in _EVENT))
        others = lines.filter(pc.invert(is_event))
        taken = sql_runner.of_batch(self._con, f"tables/lines_{self._step}", others)["line_no"]
        return pc.or_(is_event, pc.is_in(lines["line_no"], taken))

    def _without_values(self, rows: pa.Table) -> bool:
        """Whether a row has no value at all."""
        if not all(rows[key].null_count for key in self._columns):
            return False
        return pc.any(functools.reduce(pc.and_, (pc.is_null(rows[key]) for key in self._columns))).as_py() is True

    def _value(self, rows: pa.Table, steps: Steps) -> pa.ChunkedArray:
        cut = next(n for n in range(1, len(steps) + 1) if self._type(steps[:n]) in (_TEXT, _JSON))
        column = rows[steps[0]] if cut == 1 else pc.struct_field(rows[steps[0]], list(steps[1:cut]))
        if self._type(steps[:cut]) == _TEXT:
            return column
        if not any(pc.any(pc.starts_with(column, sign)).as_py() for sign in '"[{'):  # plain values
            return column if cut == len(steps) else pa.nulls(len(rows), pa.string())
        params = {"paths": [pointer(steps[cut:])]}
        found = sql_runner.of_batch(self._con, "tables/json_values", pa.table({"value": column}), params)
        return pc.list_element(found["fields"], 0)


def _has_exponent(column: pa.ChunkedArray) -> bool:
    # Few columns have such letters at all, and to look for them is cheap beside the pattern.
    texts = (bytes(data) for part in column.chunks if (data := part.buffers()[-1]))
    if not any(sign in text for text in texts for sign in (b"e+", b"e-")):
        return False
    return pc.any(pc.match_substring_regex(column, _EXPONENT)).as_py() is True


def pointer(steps: Steps) -> str:
    """DuckDB's path to a value of a document."""
    if any('"' in step for step in steps):  # no step of a path may hold one; one of a pointer may
        return "".join(f"/{step.replace('~', '~0').replace('/', '~1')}" for step in steps)
    return "$" + "".join(f'."{step}"' for step in steps)
