"""DuckDB as the pipeline uses it: a bounded connection, and queries that live in ``sql/``, not in Python."""

from __future__ import annotations

import contextlib
import re
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
    DuckDB does not understand, and where a query of the block needs more.
    """
    temp.mkdir(parents=True, exist_ok=True)
    settings: dict[str, Any] = {
        "memory_limit": config.memory_limit,
        "temp_directory": str(temp),
        "threads": config.threads,
    }
    try:
        con = duckdb.connect(":memory:", config=settings)
    except duckdb.OutOfMemoryException as error:
        raise _too_little_memory(config, error) from error
    except duckdb.Error as error:
        raise ConfigError(f"DuckDB does not start with prepare settings {settings}: {error}") from error
    try:
        yield con
    except duckdb.OutOfMemoryException as error:
        raise _too_little_memory(config, error) from error
    finally:
        con.close()


def _too_little_memory(config: PrepareConfig, error: duckdb.Error) -> ConfigError:
    """DuckDB's own advice is about pragmas, which nobody can set here."""
    reason = str(error).partition("\n")[0]
    if "max_temp_directory_size" in reason or "No space left" in reason:
        return ConfigError(f"the disk of the state folder is full: DuckDB cannot spill to it ({reason}). Make room")
    return ConfigError(
        f"prepare.memory_limit is {config.memory_limit}, which is too little for these data with prepare.threads "
        f"{config.threads}: raise the first, or lower the second. DuckDB: {reason}"
    )


def open_parquet(con: duckdb.DuckDBPyConnection, path: Path, file_row_number: bool = False) -> duckdb.DuckDBPyRelation:
    """The rows of one Parquet file, wherever it lies: ``[ ] * ?`` and ``key=value`` in its path mean nothing."""
    literal = re.sub(r"([*?\[])", r"[\1]", str(path))
    return con.read_parquet(literal, file_row_number=file_row_number, hive_partitioning=False)


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
