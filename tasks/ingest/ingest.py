"""Stage 1, ingest: from a source's raw files to the tables of ``raw/``, with an account of every line.

``accepted + rejected = read`` for every input file: nothing is skipped silently. Bad rows go to ``rejects.parquet``.
Above ``config.ingest.max_reject_share`` the stage stops and shows the first ten.
"""

from __future__ import annotations

import fnmatch
import functools
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
from prefect import task

from gensr_model.config.base import digest
from gensr_model.config.data import DownloadSource, FolderSource, GeneratedSource
from gensr_model.config.known_formats import FORMATS, Format, short_name
from gensr_model.config.logs import LogsConfig
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.config.remote_sources import S3Source, SqlSource
from gensr_model.errors import ConfigError, DataError, EmptyFileError
from tasks.core import sql_runner
from tasks.core.cluster import connected
from tasks.core.code_version import definitions_of, entry_code, function_digest, names_of
from tasks.core.dataset_format import Files, Reading, dataset_format, place_of
from tasks.core.stage import StageResult, stage
from tasks.core.state_dir import state_dir
from tasks.core.work import Work
from tasks.ingest.download import fetch
from tasks.ingest.file_cache import Parts, keep_first, put_together
from tasks.ingest.pieces import parse_ahead
from tasks.ingest.raw_files import file_digest
from tasks.ingest.rejects import Account, time_bounds

_FORMAT_PARTS = ("reading",)
#: Fields that a reading with names from the config may look at.
READING_FIELDS = tuple(f"logs.{name}" for name in (*LogsConfig.tables, "behaviors"))


def source_files(config: PipelineConfig, home: Path) -> Path:
    """The folder of raw files of ``config.source``. Except for a folder source it is below ``home``.

    Raises DataError if the folder lacks the files of ``config.format``, and ConfigError for a source that the format
    does not have.
    """
    source = config.source
    if isinstance(source, FolderSource):
        folder = Path(source.path).expanduser()
        if not folder.is_dir():
            raise _no_folder(folder, "source, ")
    elif isinstance(source, GeneratedSource):
        generate = dataset_format(config.format).generate
        if generate is None:
            raise ConfigError(f"format {config.format!r} has no generator. Set source to a folder of raw files.")
        version = digest([source.model_dump(), function_digest(generate)])
        folder = home / "generated" / f"{short_name(config.format)}-{version}"
        if not folder.is_dir():
            _generate(generate, source, folder)
    elif isinstance(source, DownloadSource):
        files = source.files or dataset_format(config.format).published
        if not files:
            raise ConfigError(f"format {config.format!r} has no published files. Name the files in source.files.")
        version = digest([file.model_dump() for file in files])
        folder = home / "downloads" / f"{short_name(config.format)}-{version}"
        fetch(files, folder, ask_again=bool(source.files))  # published files do not change
    else:
        names = {table: getattr(config.logs, table).name for table in LogsConfig.tables}
        folder = home / "downloads" / f"{source.kind}-{digest([source.model_dump(), names])}"
        _copy_tables(source, folder, config, names)
    input_files(folder, config)
    return folder


def _no_folder(path: Path, field: str = "") -> DataError:
    if path.is_file():
        return DataError(f"{path}: is a file. Name its folder: {path.parent}")
    return DataError(f"{path}: there is no such folder ({field}seen from {Path.cwd()}).")


def _copy_tables(source: S3Source | SqlSource, folder: Path, config: PipelineConfig, names: dict[str, str]) -> None:
    if isinstance(source, S3Source):
        from tasks.ingest.sources.s3 import mirror  # botocore: a second

        mirror(source, folder)
        return
    from tasks.ingest.sources.database import fetch_tables  # SQLAlchemy

    files = [f"{names[table]}.parquet" for table in source.tables()]
    with tempfile.TemporaryDirectory() as empty:
        for file in files:
            (Path(empty) / file).touch()
        try:
            input_files(Path(empty), config)
        except DataError as error:
            raise ConfigError(
                f"source.kind sql gives the files {', '.join(files)}, and format {config.format!r} reads others. Set "
                "format to logs."
            ) from error
    fetch_tables(source, folder, config.prepare, names)


def _generate(generate: Callable[[Path, GeneratedSource], None], source: GeneratedSource, folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f"{folder.name}.tmp-", dir=folder.parent))
    try:
        generate(aside, source)
        if not folder.is_dir():
            aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def input_files(folder: Path, config: PipelineConfig) -> list[Path]:
    """The files of ``folder`` that ingest reads. Raises DataError that names what is missing."""
    return [path for paths in _find(folder, config).values() for path in paths]


def _find(folder: Path, config: PipelineConfig) -> Files:
    try:
        return _reading(config).find(folder)
    except DataError as error:
        raise DataError(f"{error}{_other_format(folder, config.format)}") from error


def _reading(config: PipelineConfig) -> Reading:
    return dataset_format(config.format).reading.of(config)


def _other_format(folder: Path, format: Format) -> str:
    """A hint where the folder has files of another known format."""
    for name, facts in FORMATS.items():
        if name != format and _marked(folder, name) is not None:
            return f" It looks like {facts.title} data: set format to {name}."
    return ""


def _marked(folder: Path, format: Format) -> Path | None:
    """A file or folder below with a name of the format's. Case does not count."""
    marks = dataset_format(format).reading.marks
    named = (path for path in folder.rglob("*") if any(fnmatch.fnmatchcase(path.name.casefold(), m) for m in marks))
    return min(named, default=None)


def format_of(folder: Path) -> tuple[Format, str]:
    """The format of the files in ``folder``, by their names, and the file that shows it.

    Raises DataError where no known format has such names, or more than one has.
    """
    if not folder.is_dir():
        raise _no_folder(folder)
    marked = {name: path for name in FORMATS if (path := _marked(folder, name)) is not None}
    if len(marked) == 1:
        ((format, path),) = marked.items()
        return format, path.relative_to(folder).as_posix()
    if marked:
        files = ", ".join(f"{path.relative_to(folder)} of {name}" for name, path in marked.items())
        raise DataError(f"{folder}: the files are of several formats: {files}. Say which --format to read.")
    named = "; ".join(f"{name}: {', '.join(dataset_format(name).reading.marks)}" for name in FORMATS)
    raise DataError(
        f"{folder}: no file is named as those of a known format ({named}). Say which --format it has."
        " For tables of your own that is logs, with logs.events.name for how the files of events begin."
    )


def source_digest(folder: Path, config: PipelineConfig) -> str:
    """Digest of the names, sizes and contents of the files that ingest reads (16 hex digits)."""
    label = _label(_reading(config), folder)
    return digest([(label(p), p.stat().st_size, file_digest(p)) for p in input_files(folder, config)])


def _label(reading: Reading, folder: Path) -> Callable[[Path], str]:
    """A function that names a file in accounts."""
    return functools.partial(reading.label, folder) if reading.label else lambda path: path.name


def reading_code(config: PipelineConfig) -> dict[str, str]:
    """The code that decides the result of a raw file, with the digest of each part."""
    ours, outside = entry_code(place_of(config.format), _FORMAT_PARTS)
    return definitions_of(_read_tables, (*ours, *names_of((Parts, time_bounds)))) | outside


def _reading_settings(config: PipelineConfig) -> list[Any]:
    """Config fields that decide the result of a raw file, where the format asks the config."""
    if dataset_format(config.format).reading.configured is None:
        return []
    return [
        {table: getattr(config.logs, table).model_dump(mode="json") for table in LogsConfig.tables},
        config.logs.behaviors,
    ]


def build_raw(config: PipelineConfig, source_folder: Path, out: Path, cache: Path | None = None) -> None:
    """Read the raw files of ``source_folder`` into Parquet tables and ``manifest.json`` in the empty folder ``out``.

    The tables are those of the format, and ``rejects``. The folder ``cache``, if given, holds the parsed raw files:
    files that it knows are not parsed again.

    Raises:
        DataError: files are missing, empty, truncated or damaged, columns are missing, or there are too many bad rows.
    """
    reading = _reading(config)
    settings = [config.ingest.earliest, *_reading_settings(config)]
    parts = Parts(cache or out / "parts", digest([reading_code(config), *settings]))
    account = Account(config.ingest.max_reject_share, _label(reading, source_folder), reading.hints)
    bounds = time_bounds(config.ingest.earliest)
    spill = out / "duckdb-spill"
    try:
        with (
            sql_runner.connect(config.prepare, spill) as con,
            connected(config.prepare.dask, "prepare.dask", out) as cluster,
        ):
            files = _find(source_folder, config)
            if cluster is not None:
                cluster.require_same_files(paths[0] for paths in files.values())
            ahead = None if cluster is None else functools.partial(parse_ahead, cluster, config)
            notes = _read_tables(con, reading, files, account, bounds, out, parts, ahead)
    finally:  # the rejects also explain a reading that stopped
        pq.write_table(account.rejects(), out / "rejects.parquet", compression="zstd")
    shutil.rmtree(spill)
    for scratch in ("parts", "pieces"):
        shutil.rmtree(out / scratch, ignore_errors=True)
    tables = {p.stem: pq.read_metadata(p).num_rows for p in sorted(out.glob("*.parquet"))}
    manifest: dict[str, Any] = {"format": config.format, **account.summary(), "counts": tables, "notes": notes}
    (out / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def _read_tables(
    con: duckdb.DuckDBPyConnection,
    reading: Reading,
    files: Files,
    account: Account,
    bounds: dict[str, int],
    out: Path,
    parts: Parts,
    ahead: Callable[..., None] | None = None,
) -> dict[str, int]:
    """Write the format's tables into ``out``. Returns the counts of repeated rows and the format's own notes.

    ``ahead`` makes parts of a table's files before they are read: ``parse_ahead`` with its first arguments.
    """
    for table in reading.tables:
        rows = []
        paths = files.get(table.name, ())
        account.open(paths, table.name)
        if ahead is not None:
            ahead(table, account, bounds, parts, out / "pieces")
        for path in paths:
            blocks = functools.partial(table.blocks, con, path, bounds)
            empty = not table.optional
            try:
                rows.append(parts.read(path, table.name, table.schema, blocks, account))
            except EmptyFileError:
                if len(paths) == 1:
                    raise
                empty = True
            if account.of(path)["read"]:
                account.check(path)
            elif empty:
                account.mark_empty(path)
        if paths and not table.optional and not any(account.of(path)["read"] for path in paths):
            account.check(paths[0])  # no part has a row
        put_together(rows, out / f"{table.name}.parquet", table.schema)
    distinct = [table.name for table in reading.tables if table.distinct]
    repeated = {f"repeated_{name}": keep_first(con, name, out) for name in distinct}
    return repeated | (reading.notes(con, out, files) if reading.notes else {})


@task(name="source", task_run_name="source")
def find_source(config: PipelineConfig) -> StageResult:
    """Generate, fetch or find the raw files. The key is the digest of their names and contents."""
    folder = source_files(config, state_dir().root)
    return StageResult("source", source_digest(folder, config), folder, {}, 0.0, False)


@stage(
    "ingest",
    config=("format", "ingest.max_reject_share", "ingest.earliest", *READING_FIELDS),
    resources=sql_runner.RESOURCES,
    artifacts=("manifest.json", "rejects.parquet"),
    skip={"": (_other_format, reading_code)},  # a hint in an error, and the function that names this code
    format_parts=_FORMAT_PARTS,
)
def ingest(work: Work, config: PipelineConfig, source: Path) -> None:
    """Reads the raw files; writes ``raw/``: typed tables, rejected lines, an account of every line.

    The state folder caches the parsed files, so in a folder that grows only new files are parsed.
    """
    build_raw(config, source, work.out, cache=state_dir().parts)
