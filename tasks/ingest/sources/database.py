"""Tables of a database, one query each, as Parquet files whose bytes depend only on the rows.

PostgreSQL and SQLite are read through SQLAlchemy, a batch of rows at a time, and DuckDB files by DuckDB. No query can
write: each stands in brackets inside another query, and the connection is read-only.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import duckdb
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy
from filelock import FileLock
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool

from gensr_model.config.data import PrepareConfig
from gensr_model.config.remote_sources import DATABASES, SqlSource, file_of
from gensr_model.config.secrets import resolved, scrubbed
from gensr_model.errors import ConfigError, DataError
from tasks.core import sql_runner
from tasks.ingest.raw_files import file_digest

ROWS = 50_000  # at a time
CONNECT_S = 10
_TEXT, _TEXTS = pa.string(), pa.list_(pa.string())


class Rows(NamedTuple):
    """The result of a query."""

    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]


Reader = Callable[[str], Rows]  # the rows of a query


def fetch_tables(
    source: SqlSource, folder: Path, config: PrepareConfig, names: Mapping[str, str] = MappingProxyType({})
) -> Path:
    """Write ``<table>.parquet``, or the name in ``names``, for each query into ``folder``. Returns the folder.

    Files with unchanged rows stay unchanged.

    Raises:
        DataError: the database does not answer, refuses a query, or has no events.
        ConfigError: a variable is not set or holds no URL.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"), tempfile.TemporaryDirectory(prefix=f"{folder.name}.tmp-", dir=folder.parent) as at:
        made, unsorted = Path(at) / "tables", Path(at) / "unsorted.parquet"
        made.mkdir()
        with _connected(source) as read, sql_runner.connect(config, Path(at) / "spill") as con:
            for table, query in source.tables().items():
                count = read(table, query, unsorted)
                if not count and table == "events":
                    raise DataError("source.events: the query returns no rows. Check its conditions.")
                _sort(con, unsorted, made / f"{names.get(table, table)}.parquet")
        if _digests(made) != _digests(folder):
            shutil.rmtree(folder, ignore_errors=True)
            made.rename(folder)
    return folder


def _digests(folder: Path) -> dict[str, str]:
    return {path.name: file_digest(path) for path in sorted(folder.glob("*.parquet"))}


def _sort(con: duckdb.DuckDBPyConnection, given: Path, out: Path) -> None:
    """Write the rows ordered by all columns, from left to right."""
    with pq.ParquetFile(given) as file:
        con.register("given", pa.RecordBatchReader.from_batches(file.schema_arrow, file.iter_batches(ROWS)))
        rows = con.sql(sql_runner.query("raw/ordered_rows")).to_arrow_reader(ROWS)
        _write(Rows(rows.schema, _even(rows)), out)
        con.unregister("given")


def _even(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same rows in batches of ROWS: DuckDB's batches depend on its threads, and they would change the bytes."""
    waiting: list[pa.RecordBatch] = []
    for batch in batches:
        while (room := ROWS - sum(map(len, waiting))) <= len(batch):
            yield pa.concat_batches([*waiting, batch.slice(0, room)])
            waiting, batch = [], batch.slice(room)
        waiting.append(batch)
    if any(map(len, waiting)):
        yield pa.concat_batches(waiting)


@contextlib.contextmanager
def _connected(source: SqlSource) -> Iterator[Callable[[str, str, Path], int]]:
    """A function that writes the rows of a table's query into a Parquet file, unordered, and counts them."""
    url = resolved(source.url, "source.url")
    secrets = secrets_of(url, "source.url") if url != source.url else ()
    with contextlib.ExitStack() as stack:
        with one_error(f"source.url ({source.url}): the database cannot be opened", secrets):
            reader = stack.enter_context(_opened(url))

        def read(table: str, query: str, out: Path) -> int:
            hint = "The query must be one select: nothing that writes is run."
            with one_error(f"source.{table}: the database refuses the query", secrets, hint):
                # A line of its own ends a comment at the end of the query.
                rows = reader(f"select * from (\n{query.strip().rstrip(';')}\n) as given")
                _require_distinct(table, rows.schema.names)
                return _write(rows, out)

        yield read


def _write(rows: Rows, out: Path) -> int:
    count = 0
    with pq.ParquetWriter(out, rows.schema, compression="zstd") as file:
        for batch in rows.batches:
            file.write_batch(batch)
            count += len(batch)
    return count


def _require_distinct(table: str, names: list[str]) -> None:
    if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise DataError(f"source.{table}: several columns are called {twice[0]}. Name them apart: select … as …")


def _opened(url: str) -> contextlib.AbstractContextManager[Reader]:
    scheme = url.partition("://")[0].partition("+")[0]
    if scheme == "postgres":  # a common spelling of hosting services
        scheme = "postgresql"
    if scheme not in DATABASES:
        raise ConfigError(f"source.url: the URL is of none of the databases that gensr reads: {', '.join(DATABASES)}")
    if scheme == "postgresql":
        return _postgresql(url)
    path = Path(file_of(url)).expanduser()
    if not path.is_file():
        raise DataError(f"source.url: {path} is no file, seen from {Path.cwd()}. Give the path of the {scheme} file.")
    return _duckdb(path) if scheme == "duckdb" else _sqlite(path)


@contextlib.contextmanager
def _duckdb(path: Path) -> Iterator[Reader]:
    settings: dict[str, Any] = {"enable_external_access": False, "autoload_known_extensions": False}
    con = duckdb.connect(str(path), read_only=True, config=settings | {"autoinstall_known_extensions": False})
    with con:

        def read(query: str) -> Rows:
            result = con.sql(query).to_arrow_reader(ROWS)
            return Rows(result.schema, iter(result))

        yield read


@contextlib.contextmanager
def _sqlite(path: Path) -> Iterator[Reader]:
    place = f"{path.resolve().as_uri()}?mode=ro"
    engine = sqlalchemy.create_engine("sqlite://", creator=lambda: sqlite3.connect(place, uri=True), poolclass=NullPool)
    with engine.connect() as con:
        con.exec_driver_sql("begin")  # all queries see one state of the database
        yield lambda query: _text_rows(con, query)


@contextlib.contextmanager
def _postgresql(url: str) -> Iterator[Reader]:
    engine = sqlalchemy.create_engine(
        parse_url(url, "source.url").set(drivername="postgresql+psycopg"),
        connect_args={"connect_timeout": CONNECT_S},
        poolclass=NullPool,
        # One state of the database for all queries. The server holds the rows that are not yet here.
        execution_options={
            "isolation_level": "REPEATABLE READ",
            "postgresql_readonly": True,
            "stream_results": True,
        },
    )
    with engine.connect() as con:
        yield lambda query: _text_rows(con, query)


def _text_rows(con: sqlalchemy.Connection, query: str) -> Rows:
    """The result with every value as text, except lists of text: batches may type values differently."""
    # no_parameters: a % in the query is a %
    result = con.execution_options(no_parameters=True, yield_per=ROWS).exec_driver_sql(query)
    names = list(result.keys())
    kinds = [_TEXTS if _is_array(code) else _TEXT for _, code, *_ in result.cursor.description]
    schema = pa.schema(list(zip(names, kinds, strict=True)))

    plain: dict[pa.DataType, Callable[[Any], Any]] = {_TEXT: _text, _TEXTS: _texts}

    def batches() -> Iterator[pa.RecordBatch]:
        for rows in result.partitions(ROWS):
            columns = zip(*rows, strict=True)
            arrays = [pa.array(map(plain[kind], column), kind) for column, kind in zip(columns, kinds, strict=True)]
            yield pa.record_batch(arrays, schema=schema)

    return Rows(schema, batches())


def _is_array(code: object) -> bool:
    known = psycopg.adapters.types.get(code) if isinstance(code, int) else None
    return known is not None and known.array_oid == code


def _text(value: Any) -> str | None:
    """A value as text: a time with a zone in UTC, a compound value as JSON."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, sort_keys=True, default=_text)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime) and value.tzinfo is not None:
        value = value.astimezone(UTC)
    if isinstance(value, date | time):  # a datetime is a date
        return value.isoformat()
    if isinstance(value, Decimal):
        return f"{value:f}"
    return bytes(value).hex() if isinstance(value, bytes | memoryview) else str(value)


def _texts(values: list[Any] | None) -> list[str | None] | None:
    return None if values is None else [_text(value) for value in values]


def secrets_of(url: str, field: str) -> tuple[str | None, ...]:
    """Texts that no message may hold: the URL, and its password as in the URL and decoded."""
    written = url.partition("://")[2].rpartition("@")[0].partition(":")[2]
    return (url, written, parse_url(url, field).password if written else None)


def parse_url(url: str, field: str) -> sqlalchemy.URL:
    """The parts of a database's URL. Raises ConfigError, which names the field and not the URL."""
    try:
        return make_url(url)
    except (sqlalchemy.exc.ArgumentError, ValueError):  # their text may repeat the URL
        raise ConfigError(
            f"{field}: this is no URL of a database: expected postgresql://user:password@host:port/name, with %, @, "
            ": and / of a password written as %25, %40, %3A and %2F"
        ) from None


@contextlib.contextmanager
def one_error(where: str, secrets: tuple[str | None, ...], hint: str = "") -> Iterator[None]:
    """Raise a database's errors as one DataError without secrets."""
    try:
        yield
    except (sqlalchemy.exc.SQLAlchemyError, psycopg.Error, sqlite3.Error, duckdb.Error, pa.ArrowException) as error:
        # from None: the logged trace then has no message of the library, which may quote the URL
        raise DataError(f"{where}: {scrubbed(_reason(error), *secrets)}. {hint}".rstrip()) from None


def _reason(error: Exception) -> str:
    """The database's message without the query, which is in the config."""
    text = str(getattr(error, "orig", None) or error)
    return " ".join(text.partition("\nLINE ")[0].split()).rstrip(".")
