"""The definition of a data format: one ``DatasetFormat``, which ingest, prepare, validate and the report read.

The formats of this package are the modules of ``tasks/ingest/formats``, each with its entry ``FORMAT``. A config may
name an entry of another module as ``module:NAME``. Entries are imported by name, so the stages of one format do not
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

#: Blocks of one raw file: (accepted rows, rejected lines with the columns of ``tasks.ingest.rejects.REJECTED``). The
#: generator's return value, JSON, describes how the file was read; it goes into the manifest.
Blocks = Iterator[tuple[pa.Table, pa.Table]]
Files = Mapping[str, tuple[Path, ...]]  # raw table -> its files, in order


class RawTable(NamedTuple):
    """A table of ``raw/``: its Parquet schema, and the parser of its raw files.

    ``blocks`` gets the connection, a file and the first and last credible time (``earliest`` and ``latest``, ms since
    1970 UTC). Accepted rows have the columns of ``schema`` except ``file``, which the caller adds. ``blocks`` of a
    table with ``spans`` takes a ``Span`` of the file's lines as a further argument (``tasks/ingest/raw_files.py``).
    """

    name: str
    schema: pa.Schema
    blocks: Callable[..., Blocks]
    optional: bool = False  # True: there may be no file, and a file may be empty
    distinct: bool = False  # further rows of an id are dropped (``sql/raw/first_<name>.sql``)
    spans: bool = False  # True: a row depends on its line alone, so parts of one file can be read apart


@dataclass(frozen=True)
class Reading:
    """How raw files become ``raw/``.

    Attributes:
        tables: in the order in which they are read.
        find: the files of a folder by table. Raises DataError that names what is missing or ambiguous.
        marks: glob patterns of file names that only this format has, for a hint at a wrong ``format``.
        notes: counts for the manifest, from the finished folder of tables and the files. May raise DataError.
        configured: the reading with the names that a config gives to files and columns, where the format has any.
        label: the name of a file in accounts and rejects, from the source folder and its path; by default its file
            name.
        hints: what to do about rejected lines, by the beginning of their reason; for a file in which most lines have
            it.
    """

    tables: tuple[RawTable, ...]
    find: Callable[[Path], Files]
    marks: tuple[str, ...] = ()
    notes: Callable[[duckdb.DuckDBPyConnection, Path, Files], dict[str, int]] | None = None
    configured: Callable[[PipelineConfig], Reading] | None = None
    label: Callable[[Path, Path], str] | None = None
    hints: Mapping[str, str] = field(default_factory=dict)

    def of(self, config: PipelineConfig) -> Reading:
        """The reading as the config configures it."""
        return self if self.configured is None else self.configured(config)


class Count(NamedTuple):
    """A step of prepare whose single row goes into the manifest's counts."""

    name: str
    query: str


# A query by its name under ``sql/``, a count, or a function (connection, config, counts).
Step = str | Count | Callable[[duckdb.DuckDBPyConnection, PipelineConfig, dict[str, Any]], None]


@dataclass(frozen=True)
class Preparing:
    """How ``raw/`` becomes the prepared dataset: the steps that differ between formats, in groups and in order.

    Attributes:
        tables: the raw tables to read, as views ``raw_<table>`` with ``file_row_number``; ``items`` is one of them.
        interactions: make ``interactions`` (user, item, ts, behavior, query, source_row), the engaged rows. Where the
            data have impressions, also ``shown`` and ``engaged_lists``, which ``sql/prepared/impressions.sql`` reads.
        by_user: the raw tables, each with a column ``user``, whose rows the steps of ``interactions`` read; where rows
            of a user give the same without those of others, and every count is a sum over users. Then a cluster can run
            the steps by ranges of users. Empty where that does not hold.
        item_text: make ``item_text`` (item, title, brand, description, category_paths) from ``item_rows``.
        event_split: make ``event_split`` (position, split) from ``events``.
        searches: add search events to ``interactions`` after the filter, where the raw data have none.
        both_behaviors: whether only users with both behaviors stay; or a function of the config.
        may_lack_task: whether logs with only one behavior can be prepared.
        files: further prepared files from ``tasks.prepare.schemas``, each with the query of its rows; a file is left
            out where no step made its table.
        figures: one-row queries that an audit prints beside its own figures.
        days: for a split by day, the time zone of its days, or a function of the config and the counts.
    """

    tables: tuple[str, ...]
    interactions: tuple[Step, ...]
    item_text: tuple[Step, ...]
    event_split: tuple[Step, ...]
    by_user: tuple[str, ...] = ()
    searches: tuple[Step, ...] = ()
    both_behaviors: bool | Callable[[PipelineConfig], bool] = False
    may_lack_task: bool = False
    files: tuple[tuple[str, str], ...] = ()
    figures: tuple[str, ...] = ()
    days: str | Callable[[PipelineConfig, Mapping[str, Any]], str | None] | None = None


@dataclass(frozen=True)
class DatasetFormat:
    """Everything that the pipeline knows about a data format.

    Attributes:
        advice: warnings that the format adds to the result of ``tasks/validate/check.py``; each says what to set.
        larger_test: the field to set for a test part that many times larger, from the result of the check.
        explicit: the config's own fields as the check detected them, and notes on some of them by path.
        outline: what ``explicit`` needs where no check is possible, from the raw folder, the config and a folder for
            DuckDB.
        suites: expectations of the raw tables by table, from the first and last credible time (ms since 1970 UTC).
        published: the public files; empty where a user has to name the files to download.
        generate: writes a generated world into a folder; None where there is no generator.
    """

    facts: FormatFacts
    reading: Reading
    preparing: Preparing
    suites: Callable[[int, int], dict[str, ExpectationSuite]]
    advice: Callable[[dict[str, Any]], list[str]] | None = None
    larger_test: Callable[[dict[str, Any], PipelineConfig, float], str] | None = None
    explicit: Callable[[dict[str, Any], PipelineConfig], tuple[dict[str, Any], dict[str, str]]] | None = None
    outline: Callable[[Path, PipelineConfig, Path], dict[str, Any]] | None = None
    published: tuple[RemoteFile, ...] = ()
    generate: Callable[[Path, GeneratedSource], None] | None = None


def dataset_format(name: str) -> DatasetFormat:
    """The entry of a format, by a known name or ``module:NAME``. Raises ConfigError where there is none."""
    module, _, attribute = place_of(name).partition(":")
    try:
        entry = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"format {name!r} cannot be imported: {error}. Choose one of {', '.join(FORMATS)}, or install the module."
        ) from error
    if not isinstance(entry, DatasetFormat):
        raise ConfigError(
            f"format {name!r} is no DatasetFormat. Name a constant of the class in tasks/core/dataset_format.py."
        )
    return entry


def place_of(name: str) -> str:
    """The place of a format's entry, as ``module:NAME``."""
    return f"tasks.ingest.formats.{name}:FORMAT" if name in FORMATS else name


def open_raw(con: duckdb.DuckDBPyConnection, raw: Path, entry: DatasetFormat) -> tuple[str, ...]:
    """Make a view ``raw_<table>``, with ``file_row_number``, of each table that prepare reads. Returns their names.

    Raises DataError for a table that the folder ``raw`` lacks.
    """
    for table in entry.preparing.tables:
        path = raw / f"{table}.parquet"
        if not path.is_file():
            raise DataError(f"{path} is missing, but format {entry.facts.name} needs it. Run ingest again.")
        open_parquet(con, path, file_row_number=True).create_view(f"raw_{table}")
    return tuple(f"raw_{table}" for table in entry.preparing.tables)
