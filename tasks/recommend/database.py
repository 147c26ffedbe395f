"""Answers in a table of PostgreSQL or SQLite: one transaction for each shard, which also notes that it is done."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.pool import NullPool

from gensr_model.config.remote_sources import file_of
from gensr_model.errors import DataError
from tasks.ingest.sources.database import CONNECT_S, one_error, parse_url, secrets_of
from tasks.recommend.rows import FIELD, SCHEMA, Counts

_MANIFEST = "manifest"  # in place of the name of a shard
_KEY = ("user", "query", "rank", "version")
_TYPES = {pa.string(): sa.Text, pa.int32(): sa.Integer, pa.float64(): sa.Double}


class SqlDestination:
    """A table, and beside it ``<table>_shards`` with the shards that are done.

    Rows of a shard replace those of the same user, query, rank and version. Rows of other versions stay.

    Args:
        url: the database's URL. given: what the config has in its place.
    """

    def __init__(self, url: str, given: str, table: str, batch: str) -> None:
        self.place, self._batch = f"{given}, table {table}", batch
        self._secrets = secrets_of(url, FIELD) if url != given else ()
        self._engine = _engine(url)
        tables = sa.MetaData()
        columns = [
            sa.Column(field.name, _TYPES[field.type](), primary_key=field.name in _KEY, nullable=False)
            for field in SCHEMA
        ]
        self._rows = sa.Table(table, tables, *columns)
        self._shards = sa.Table(
            f"{table}_shards",
            tables,
            sa.Column("batch", sa.Text(), primary_key=True),
            sa.Column("shard", sa.Text(), primary_key=True),
            sa.Column("counts", sa.Text(), nullable=False),
        )

    def prepare(self) -> None:
        with self._errors("cannot be opened for writing"), self._engine.begin() as con:
            self._rows.metadata.create_all(con)
            for table in (self._rows, self._shards):
                self._require_columns(sa.inspect(con), table)
            con.execute(sa.delete(self._rows).where(sa.false()))
            self._note(con, ".probe", {})
            con.execute(sa.delete(self._shards).where(self._shards.c.shard == ".probe"))

    def done(self) -> dict[str, Counts]:
        with self._errors("cannot be read"), self._engine.connect() as con:
            noted = con.execute(sa.select(self._shards).where(self._shards.c.batch == self._batch)).all()
        return {row.shard: json.loads(row.counts) for row in noted if row.shard != _MANIFEST}

    def write(self, shard: str, rows: pa.Table, counts: Counts) -> None:
        with self._errors("refuses the answers"), self._engine.begin() as con:
            self._remove(con, rows)
            if len(rows):
                con.execute(self._upsert(self._rows), rows.to_pylist())
            self._note(con, shard, counts)

    def manifest(self) -> dict[str, Any] | None:
        with self._errors("cannot be read"), self._engine.connect() as con:
            known = self._shards.c.batch == self._batch, self._shards.c.shard == _MANIFEST
            found = con.execute(sa.select(self._shards.c.counts).where(*known)).scalar()
        return None if found is None else json.loads(found)

    def finish(self, manifest: dict[str, Any]) -> None:
        with self._errors("refuses the manifest"), self._engine.begin() as con:
            self._note(con, _MANIFEST, manifest)

    def _remove(self, con: sa.Connection, rows: pa.Table) -> None:
        """Delete lower ranks of an earlier, longer answer to the same requests by the same version."""
        if not len(rows):
            return
        last = rows.group_by(["user", "query", "version"]).aggregate([("rank", "max")]).to_pylist()
        same = [self._rows.c[name] == sa.bindparam(f"its_{name}") for name in ("user", "query", "version")]
        lower = sa.delete(self._rows).where(*same, self._rows.c.rank > sa.bindparam("its_rank_max"))
        con.execute(lower, [{f"its_{name}": value for name, value in row.items()} for row in last])

    def _note(self, con: sa.Connection, shard: str, counts: dict[str, Any]) -> None:
        text = json.dumps(counts, ensure_ascii=False)
        con.execute(self._upsert(self._shards), [{"batch": self._batch, "shard": shard, "counts": text}])

    def _upsert(self, table: sa.Table) -> sa.Insert:
        made = (postgresql if self._engine.dialect.name == "postgresql" else sqlite).insert(table)
        others = {column.name: made.excluded[column.name] for column in table.columns if not column.primary_key}
        return made.on_conflict_do_update(index_elements=list(table.primary_key.columns), set_=others)

    def _require_columns(self, inspector: sa.Inspector, table: sa.Table) -> None:
        given = {column["name"] for column in inspector.get_columns(table.name)}
        if missing := [column.name for column in table.columns if column.name not in given]:
            raise DataError(
                f"recommend.table: the table {table.name} has no column {missing[0]}. Name another table, or drop it."
            )

    def _errors(self, what: str) -> AbstractContextManager[None]:
        return one_error(f"{FIELD} ({self.place}): the database {what}", self._secrets)


def _engine(url: str) -> sa.Engine:
    parsed = parse_url(url, FIELD)
    if parsed.drivername.partition("+")[0] in ("postgresql", "postgres"):
        parsed = parsed.set(drivername="postgresql+psycopg")
        return sa.create_engine(parsed, connect_args={"connect_timeout": CONNECT_S}, poolclass=NullPool)
    path = Path(file_of(url)).expanduser()
    if not path.parent.is_dir():
        raise DataError(
            f"{FIELD}: {path.parent} is no folder, seen from {Path.cwd()}. Give the path of an sqlite file."
        )
    engine = sa.create_engine(sa.URL.create("sqlite", database=str(path)), poolclass=NullPool)
    sa.event.listen(engine, "connect", _waits)
    return engine


def _waits(connection: Any, record: object) -> None:
    """SQLite has one writer at a time: others wait for it."""
    del record
    connection.execute("pragma busy_timeout = 60000")
