"""DuckDB as the pipeline uses it: a bounded connection, and queries that live in ``sql/``, not in Python."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from gensr_model.config.data import PrepareConfig
from gensr_model.errors import ConfigError
from tasks.core import source_files

# Fields of the config that say what DuckDB may use. They change no byte of what it writes, so no key holds them.
RESOURCES = ("prepare.memory_limit", "prepare.threads")


@contextlib.contextmanager
def connect(config: PrepareConfig, temp: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """An in-memory database within ``config.memory_limit`` and ``config.threads``, spilling to ``temp``.

    ``temp`` is created if absent and is the caller's to delete. Raises ConfigError for a memory limit that
    DuckDB does not understand.
    """
    temp.mkdir(parents=True, exist_ok=True)
    settings: dict[str, Any] = {
        "memory_limit": config.memory_limit,
        "temp_directory": str(temp),
        "threads": config.threads,
    }
    try:
        con = duckdb.connect(":memory:", config=settings)
    except duckdb.Error as error:
        raise ConfigError(f"DuckDB does not start with prepare settings {settings}: {error}") from error
    try:
        yield con
    finally:
        con.close()


def query(name: str) -> str:
    """Text of ``sql/<name>.sql``, for example ``query("amazon/reviews")``; ConfigError if there is none."""
    try:
        return source_files.text(f"sql/{name}.sql")
    except FileNotFoundError:
        raise ConfigError(f"there is no query sql/{name}.sql in the installed package") from None


def run(con: duckdb.DuckDBPyConnection, name: str, params: dict[str, Any] | None = None) -> duckdb.DuckDBPyConnection:
    """Execute ``sql/<name>.sql`` with its ``$named`` parameters; results are fetched from what it returns.

    DuckDB takes parameters for one statement only: a file of several statements is run without ``params``.
    """
    return con.execute(query(name), params) if params else con.execute(query(name))


def to_arrow(con: duckdb.DuckDBPyConnection, name: str, params: dict[str, Any] | None = None) -> pa.Table:
    """The rows of ``sql/<name>.sql``, one select statement, as an Arrow table."""
    return con.sql(query(name), params=params).to_arrow_table()
