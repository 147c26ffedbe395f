"""What a data format is: one ``DatasetFormat``, the entry that ingest, prepare, validate and report read.

The formats of this package are the modules of ``tasks/ingest/formats``, each with its entry ``FORMAT``. A config may
name an entry of any other module as ``module:NAME``. Entries are imported by name, so the stages of one format do not
depend on the code of another.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import duckdb
import pyarrow as pa

from gensr_model.config.data import GeneratedSource, RemoteFile
from gensr_model.config.known_formats import FORMATS, FormatFacts
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.errors import ConfigError, DataError
from tasks.core.sql_runner import open_parquet

if TYPE_CHECKING:
    from great_expectations import ExpectationSuite

#: Blocks of one raw file: (accepted rows, rejected lines with the columns of ``tasks.ingest.rejects.REJECTED``). What a
#: generator returns at its end, JSON, is what was understood of the file; the manifest has it.
Blocks = Iterator[tuple[pa.Table, pa.Table]]
Files = Mapping[str, tuple[Path, ...]]  # raw table -> its files, in order


class RawTable(NamedTuple):
    """A table of ``raw/``: its Parquet schema, and how its raw files are parsed.

    ``blocks`` gets the connection, a file and the first and last credible time (``earliest`` and ``latest``, ms since
    1970 UTC). Accepted rows have the columns of ``schema``, except for ``file``, which the caller adds.
    """

    name: str
    schema: pa.Schema
    blocks: Callable[[duckdb.DuckDBPyConnection, Path, dict[str, int]], Blocks]
    optional: bool = False  # there may be no file, and a file may be empty
    distinct: bool = False  # further rows of an id are dropped (``sql/raw/first_<name>.sql``)


@dataclass(frozen=True)
class Reading:
    """From raw files to ``raw/``.

    Attributes:
        tables: in the order in which they are read.
        find: the files of a folder by table. Raises DataError that names what is missing or ambiguous.
        marks: glob patterns of file names that only this format has, for a hint at a wrong ``format``.
        notes: counts for the manifest, from the finished folder of tables and the files. May raise DataError.
        configured: the reading with the names that a config gives to files and columns, where the format has any.
        label: what a file is called in accounts and rejects, by the source folder and its path; else its name.
        hints: what to do about rejected lines, by the beginning of their reason; for a file that mostly has it.
    """

    tables: tuple[RawTable, ...]
    find: Callable[[Path], Files]
    marks: tuple[str, ...] = ()
    notes: Callable[[duckdb.DuckDBPyConnection, Path, Files], dict[str, int]] | None = None
    configured: Callable[[PipelineConfig], Reading] | None = None
    label: Callable[[Path, Path], str] | None = None
    hints: Mapping[str, str] = field(default_factory=dict)

    def of(self, config: PipelineConfig) -> Reading:
        """The reading as the config wants it."""
        return self if self.configured is None else self.configured(config)


class Count(NamedTuple):
    """A step of prepare: the single row of a query goes into the manifest's counts."""

    name: str
    query: str


# A query by its name under ``sql/``, a count, or a function of the connection, the config and the counts.
Step = str | Count | Callable[[duckdb.DuckDBPyConnection, PipelineConfig, dict[str, Any]], None]


@dataclass(frozen=True)
class Preparing:
    """From ``raw/`` to the prepared dataset: the steps that differ between formats, each group in order.

    Attributes:
        tables: the raw tables that are read, as views ``raw_<table>`` with ``file_row_number``; ``items`` is one.
        interactions: make ``interactions`` (user, item, ts, behavior, query, source_row), the engaged rows.
        item_text: make ``item_text`` (item, title, brand, description, category_paths) from ``item_rows``.
        event_split: make ``event_split`` (position, split) from ``events``.
        searches: add search events to ``interactions`` after the filter, where the raw data have none.
        both_behaviors: keep only users who have both behaviors; or what the config says.
        may_lack_task: whether logs of one behavior alone can be prepared.
        files: further prepared files, of those in ``tasks.prepare.schemas``, each with the query of its rows; left out
            where no step made the table of that name.
        figures: queries of one row that an audit prints beside its own figures.
        days: where the split is by day, the time zone of its days, or what gives it by the config and the counts.
    """

    tables: tuple[str, ...]
    interactions: tuple[Step, ...]
    item_text: tuple[Step, ...]
    event_split: tuple[Step, ...]
    searches: tuple[Step, ...] = ()
    both_behaviors: bool | Callable[[PipelineConfig], bool] = False
    may_lack_task: bool = False
    files: tuple[tuple[str, str], ...] = ()
    figures: tuple[str, ...] = ()
    days: str | Callable[[PipelineConfig, Mapping[str, Any]], str | None] | None = None


@dataclass(frozen=True)
class DatasetFormat:
    """All that the pipeline knows of a data format.

    Attributes:
        advice: warnings that the format adds to what ``tasks/validate/check.py`` found; each says what to set.
        explicit: the config's own fields as the check found them, and a note behind some of them by path.
        outline: from the raw folder, the config and a folder for DuckDB, what ``explicit`` needs where no check can be.
        suites: expectations of the raw tables by table, from the first and last credible time (ms since 1970 UTC).
        published: the public files; empty where a user has to name the files to download.
        generate: writes a generated world into a folder; None where there is no generator.
    """

    facts: FormatFacts
    reading: Reading
    preparing: Preparing
    suites: Callable[[int, int], dict[str, ExpectationSuite]]
    advice: Callable[[dict[str, Any]], list[str]] | None = None
    explicit: Callable[[dict[str, Any], PipelineConfig], tuple[dict[str, Any], dict[str, str]]] | None = None
    outline: Callable[[Path, PipelineConfig, Path], dict[str, Any]] | None = None
    published: tuple[RemoteFile, ...] = ()
    generate: Callable[[Path, GeneratedSource], None] | None = None


def dataset_format(name: str) -> DatasetFormat:
    """The entry of a format: a known name, or ``module:NAME``. Raises ConfigError where there is none."""
    module, _, attribute = place_of(name).partition(":")
    try:
        entry = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"format {name!r} cannot be imported: {error}. Known formats: {', '.join(FORMATS)}"
        ) from error
    if not isinstance(entry, DatasetFormat):
        raise ConfigError(f"format {name!r} is no DatasetFormat (tasks/core/dataset_format.py)")
    return entry


def place_of(name: str) -> str:
    """Where the entry of a format stands, as ``module:NAME``."""
    return f"tasks.ingest.formats.{name}:FORMAT" if name in FORMATS else name


def open_raw(con: duckdb.DuckDBPyConnection, raw: Path, entry: DatasetFormat) -> tuple[str, ...]:
    """Make a view ``raw_<table>``, with ``file_row_number``, of each table that prepare reads; returns their names.

    Raises DataError for a table that the folder ``raw`` lacks.
    """
    for table in entry.preparing.tables:
        path = raw / f"{table}.parquet"
        if not path.is_file():
            raise DataError(f"{path}: missing; a raw folder of format {entry.facts.name} has it, run ingest again")
        open_parquet(con, path, file_row_number=True).create_view(f"raw_{table}")
    return tuple(f"raw_{table}" for table in entry.preparing.tables)
