"""DuckDB for the pipeline: a connection with limits, and queries from ``sql/``, not from Python."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from gensr_model.config.data import PrepareConfig
from gensr_model.errors import ConfigError
from tasks.core import source_files

# Fields of the config that say where and within which limits DuckDB runs. They change no byte, so no key holds them.
RESOURCES = ("prepare.memory_limit", "prepare.threads", "prepare.dask")


@contextlib.contextmanager
def connect(config: PrepareConfig, temp: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """An in-memory database within ``config.memory_limit`` and ``config.threads`` that spills to ``temp``.

    ``temp`` is created if absent, and the caller deletes it. Raises ConfigError for an invalid memory limit, and where
    a query of the block needs more memory.
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
        raise ConfigError(
            f"DuckDB does not start with prepare settings {settings}: {error}. Set prepare.memory_limit "
            "to a size such as 8GB."
        ) from error
    try:
        yield con
    except duckdb.OutOfMemoryException as error:
        raise _too_little_memory(config, error) from error
    finally:
        con.close()


def _too_little_memory(config: PrepareConfig, error: duckdb.Error) -> ConfigError:
    """A message in place of DuckDB's, whose advice is about pragmas that a user cannot set here."""
    reason = str(error).partition("\n")[0]
    if "max_temp_directory_size" in reason or "No space left" in reason:
        return ConfigError(
            f"the disk of the state folder is full, so DuckDB cannot spill to it ({reason}). Make room on "
            "the disk, or set GENSR_HOME to another one."
        )
    return ConfigError(
        f"prepare.memory_limit is {config.memory_limit}, too little for these data with "
        f"prepare.threads {config.threads} (DuckDB: {reason}). Raise prepare.memory_limit, or lower "
        "prepare.threads."
    )


def literal(path: Path) -> str:
    """The path for DuckDB's readers, to which ``[ * ?`` are patterns."""
    return re.sub(r"([*?\[])", r"[\1]", str(path))


def open_parquet(
    con: duckdb.DuckDBPyConnection, path: Path | Sequence[Path], file_row_number: bool = False
) -> duckdb.DuckDBPyRelation:
    """The rows of one Parquet file at any path, or of several with the same columns.

    ``[ ] * ?`` and ``key=value`` in a path have no special meaning.
    """
    paths = [literal(each) for each in ([path] if isinstance(path, Path) else path)]
    return con.read_parquet(paths, file_row_number=file_row_number, hive_partitioning=False)


def query(name: str) -> str:
    """Text of ``sql/<name>.sql``, for example ``query("amazon/reviews")``. Raises ConfigError if there is none."""
    try:
        return source_files.text(f"sql/{name}.sql")
    except FileNotFoundError:
        raise ConfigError(f"there is no query sql/{name}.sql in the installed package. Install gensr again.") from None


def run(con: duckdb.DuckDBPyConnection, name: str, params: dict[str, Any] | None = None) -> duckdb.DuckDBPyConnection:
    """Execute ``sql/<name>.sql`` with its ``$named`` parameters. Fetch the rows from the returned connection.

    DuckDB takes parameters for one statement only, so a file of several statements runs without ``params``.
    """
    return con.execute(query(name), params) if params else con.execute(query(name))


def to_arrow(con: duckdb.DuckDBPyConnection, name: str, params: dict[str, Any] | None = None) -> pa.Table:
    """The rows of ``sql/<name>.sql``, one select statement, as an Arrow table."""
    return con.sql(query(name), params=params).to_arrow_table()


def of_batch(
    con: duckdb.DuckDBPyConnection, name: str, rows: pa.Table, params: dict[str, Any] | None = None
) -> pa.Table:
    """The rows of ``sql/<name>.sql``, a query of the table ``batch``, which are these ``rows``."""
    con.register("batch", rows)
    try:
        return to_arrow(con, name, params)
    finally:
        con.unregister("batch")
