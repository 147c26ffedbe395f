"""Reads one raw file of a table with columns by role: how it was read, and its rows as text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from gensr_model.config.logs import TableConfig
from gensr_model.errors import DataError
from tasks.core import sql_runner
from tasks.ingest.raw_files import require_text
from tasks.ingest.tables import delimited, json_lines, parquet_rows, values
from tasks.ingest.tables.roles import USUAL, Column, find_columns
from tasks.ingest.tables.table_files import LINES, PARQUET, TEXT, hive_columns, kind_of
from tasks.ingest.tables.text_chunks import first_bytes

_SAMPLE = 2**20
_LATE = ("query", "query_id", "behavior")  # many rows have none, and JSON lines may leave out null values
_IDS = ("user", "item", "query_id", "session", "behavior")
# A batch of rows by role, with ``line_no``, and the lines that are no rows.
Batches = Iterator[tuple[pa.Table, pa.Table]]


class TableReader:
    """A file of ``table``, one of ``USUAL``. The constructor reads only the file's beginning.

    Attributes:
        columns: role -> its columns; roles without columns are left out.
        seen: all columns of the file, with those of hive folders.
        shown: the same for people, with ``object.id`` in place of an ``object``.
        time_unit: unit of the time column where the file states it (Parquet): ms; else None.

    Raises DataError for a file that is not what its name says, and as ``find_columns`` does.
    """

    def __init__(
        self, con: duckdb.DuckDBPyConnection, path: Path, table: str, config: TableConfig, required: bool = True
    ) -> None:
        self.con, self.path, self.table = con, path, table
        sql_runner.run(con, "tables/macros")
        named = kind_of(path.name)
        assert named is not None  # the caller found the file by its name
        self.kind = named.kind
        self.hive = hive_columns(path, config.name) if config.hive else {}
        given: dict[str, Any] = config.columns.model_dump()  # type: ignore[attr-defined]
        self.step = config.lines
        inner = self._look(config, given)
        self.seen: list[str] = [*(name for name in inner if name not in self.hive), *self.hive]
        self.shown = [path for name in self.seen for path in inner.get(name) or [name]]
        self.columns = find_columns(
            table,
            given,
            self.seen,
            path,
            self.kind == LINES,
            self.step is not None,
            None if self.kind == TEXT else self.shown,
            required,
        )
        self.zone: str = getattr(config, "time_zone", "UTC")
        self.time_unit = self._own_time_unit()

    def _look(self, config: TableConfig, given: dict[str, Any]) -> dict[str, list[str]]:
        """The columns of the file, each with the paths into its objects; sets its schema or dialect."""
        self.dialect: delimited.Dialect | None = None
        if self.kind == PARQUET:
            self.schema = parquet_rows.schema_of(self.path)
            return parquet_rows.paths_of(self.schema)
        start = first_bytes(self.path, _SAMPLE).removeprefix(b"\xef\xbb\xbf")
        if start[:4] == b"PAR1":
            raise DataError(f"{self.path}: the file is Parquet. Name it {self.path.name.split('.')[0]}.parquet.")
        require_text(self.path, start)
        if self.kind == LINES:
            return json_lines.keys_of(self.con, self.path, self.step)
        usual = [name for names in USUAL[self.table].values() for name in names]
        mapped = [
            n.removesuffix("?")
            for names in given.values()
            for n in ([names] if isinstance(names, str) else names or ())
        ]
        self.dialect = delimited.sniff(
            self.path, start, [*usual, *mapped], config.delimiter, config.quoted, config.header
        )
        return {name: [] for name in self.dialect.header}

    def _own_time_unit(self) -> str | None:
        names = self.columns["time"].names if "time" in self.columns else ()
        typed = self.kind == PARQUET and names and names[0] not in self.hive
        return "ms" if typed and parquet_rows.is_time(parquet_rows.type_of(self.schema, names[0])) else None

    @property
    def facts(self) -> dict[str, Any]:
        """How the file was read, as JSON: its notation, the columns of each role with reasons, and unused columns."""
        used = {name for column in self.columns.values() for name in column.names}
        around = {".".join(steps[:n]) for steps in (name.split(".") for name in used) for n in range(1, len(steps))}
        facts: dict[str, Any] = {"table": self.table, "kind": self.kind}
        if self.dialect is not None:
            facts |= {"delimiter": self.dialect.delimiter, "quoted": self.dialect.quoted}
        columns = {role: {"columns": list(c.names), "why": c.why} for role, c in self.columns.items()}
        unused = [name for name in self.shown if not {name, name.split(".")[0]} & used and name not in around]
        return facts | {"columns": columns, "unused": unused}

    def name_of(self, role: str) -> str:
        """The column of a role as people know it, for reasons of rejects."""
        between = " + " if role in values.BETWEEN else " or "
        return between.join(self.columns[role].names) if role in self.columns else role

    def batches(self) -> Batches:
        """Rows by role as text, and broken lines. Values are trimmed, null where missing, with normalised ids and
        queries.

        A role without a column is null. Raises DataError where the file is truncated or damaged.
        """
        usual = USUAL[self.table]
        late = {role: Column(usual[role], "usual name, in later rows") for role in self._late()}
        playing = self.columns | late
        wanted = list(dict.fromkeys(name for c in playing.values() for name in c.names if name not in self.hive))
        for rows, broken in self._read(wanted):
            for role, column in late.items():
                before = self.columns[role].names if role in self.columns else ()
                names = tuple(n for n in column.names if n in before or rows[n].null_count < len(rows))
                if names:
                    self.columns[role] = column._replace(names=names)
            roles = {role: self._role(rows, playing.get(role), role) for role in usual}
            yield pa.table(roles | {"line_no": rows["line_no"]}), broken

    def _late(self) -> list[str]:
        """Roles whose usual names are looked for in all rows, because the first ones have none of them."""
        roles = USUAL[self.table].keys() & _LATE if self.kind == LINES else ()
        return sorted(role for role in roles if role not in self.columns)

    def _read(self, wanted: list[str]) -> Batches:
        if self.dialect is not None:
            return delimited.records(self.path, self.dialect, wanted)
        if self.kind == PARQUET:
            return parquet_rows.parquet_rows(self.con, self.path, {name: name for name in wanted}, self.zone)
        paths = {name: json_lines.steps_to(name, self.seen) for name in wanted}
        return json_lines.json_rows(self.con, self.path, paths, self.step)

    def _role(self, rows: pa.Table, column: Column | None, role: str) -> pa.ChunkedArray | pa.Array:
        if column is None:
            return pa.nulls(len(rows), pa.string())
        constant = {name: pa.repeat(pa.scalar(value), len(rows)) for name, value in self.hive.items()}
        parts = [constant[name] if name in constant else rows[name] for name in column.names]
        if role in values.BETWEEN:
            parts = [values.lists(part) for part in parts]
        text = values.known(values.joined(parts, role))
        if role in _IDS:
            return values.ids(text)
        if role in values.BETWEEN:
            return values.texts(text)
        return values.queries(text) if role == "query" else text
