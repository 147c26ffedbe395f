"""Stage 1, ingest: raw files of a source -> the tables of ``raw/``, with an account of every line.

``accepted + rejected = read`` for every input file: nothing is skipped silently. Bad rows go to
``rejects.parquet``; above ``config.ingest.max_reject_share`` the stage stops and shows the first ten.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from prefect import task

from gensr_model.config.base import Format, digest
from gensr_model.config.data import FolderSource, GeneratedSource
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.data.synthetic import write_amazon, write_kuaisar
from gensr_model.errors import DataError
from tasks.core import sql_runner
from tasks.core.code_version import code_digest
from tasks.core.stage import StageResult, stage
from tasks.core.state_dir import state_dir
from tasks.core.work import Work
from tasks.ingest.amazon import amazon_files, read_amazon
from tasks.ingest.download import PUBLISHED, fetch
from tasks.ingest.file_cache import Parts
from tasks.ingest.kuaisar import kuaisar_files, read_kuaisar
from tasks.ingest.raw_files import file_digest
from tasks.ingest.rejects import Account, time_bounds


def source_files(config: PipelineConfig, home: Path) -> Path:
    """The folder of raw files that ``config.source`` means: generated and downloaded ones are kept under ``home``.

    Raises DataError if the folder does not hold the files of ``config.format``.
    """
    source = config.source
    if isinstance(source, FolderSource):
        folder = Path(source.path).expanduser()
        if not folder.is_dir():
            raise DataError(f"{folder}: there is no such folder (source, seen from {Path.cwd()}).")
    elif isinstance(source, GeneratedSource):
        folder = home / "generated" / f"{config.format}-{digest([source.model_dump(), GENERATOR_VERSION])}"
        if not folder.is_dir():
            _generate(config.format, source, folder)
    else:
        files = [file.model_dump() for file in source.files or PUBLISHED[config.format]]
        folder = fetch(source, config.format, home / "downloads" / f"{config.format}-{digest(files)}")
    input_files(folder, config.format)
    return folder


GENERATOR_VERSION = 3  # raise it when the generated world changes, so that saved files are written anew


def _generate(format: Format, source: GeneratedSource, folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f"{folder.name}.tmp-", dir=folder.parent))
    try:
        (write_amazon if format == "amazon" else write_kuaisar)(aside, source)
        if not folder.is_dir():
            aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def input_files(folder: Path, format: Format) -> list[Path]:
    """The files of ``folder`` that ingest reads; DataError names what is missing."""
    files = amazon_files(folder) if format == "amazon" else kuaisar_files(folder).values()
    return [path for table in files for path in table]


def source_digest(folder: Path, format: Format) -> str:
    """Digest of the names, sizes and contents of the files that ingest reads (16 hex digits)."""
    return digest([(p.name, p.stat().st_size, file_digest(p)) for p in input_files(folder, format)])


CODE = (
    "tasks/ingest/ingest.py",
    "sql/amazon",
    "sql/kuaisar",
    "sql/raw",
)  # what decides the tables of ``raw/``


def build_raw(config: PipelineConfig, source_folder: Path, out: Path, kept: Path | None = None) -> None:
    """Read the raw files of ``source_folder`` into Parquet tables and ``manifest.json`` in the empty folder ``out``.

    amazon: reviews, items; kuaisar: rec, src, items, users, social; both: rejects. Raises DataError for files that
    are missing, empty, truncated or damaged, for missing columns, and for too many bad rows.

    What each raw file became is kept in the folder ``kept``, if there is one, and files found there are not parsed
    again.
    """
    parts = Parts(kept or out / "parts", digest([code_digest(CODE), config.ingest.earliest]))
    account = Account(config.ingest.max_reject_share)
    bounds = time_bounds(config.ingest.earliest)
    read = read_amazon if config.format == "amazon" else read_kuaisar
    spill = out / "duckdb-spill"
    try:
        with sql_runner.connect(config.prepare, spill) as con:
            notes = read(con, source_folder, account, bounds, out, parts)
    finally:  # the rejects also explain a reading that stopped
        pq.write_table(account.rejects(), out / "rejects.parquet", compression="zstd")
    shutil.rmtree(spill)
    shutil.rmtree(out / "parts", ignore_errors=True)
    tables = {p.stem: pq.read_metadata(p).num_rows for p in sorted(out.glob("*.parquet"))}
    manifest: dict[str, Any] = {
        "format": config.format,
        **account.summary(),
        "counts": tables,
        "notes": notes,
    }
    (out / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


@task(name="source", task_run_name="source")
def find_source(config: PipelineConfig) -> StageResult:
    """Generate, download or look up the raw files; the key is the digest of their names and contents."""
    folder = source_files(config, state_dir().root)
    return StageResult("source", source_digest(folder, config.format), folder, {}, 0.0, False)


@stage(
    "ingest",
    code=CODE,
    config=("format", "ingest"),
    artifacts=("manifest.json", "rejects.parquet"),
)
def ingest(work: Work, config: PipelineConfig, source: Path) -> None:
    """Reads the raw files; writes ``raw/``: typed tables, rejected lines, an account of every line.

    What each file became is kept in the state folder, so that of a folder that grew only new files are parsed.
    """
    build_raw(config, source, work.out, kept=state_dir().parts)
