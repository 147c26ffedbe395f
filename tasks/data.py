"""Stages 1 to 4 for the flows: where the raw files are, ingest, prepare, validate."""

from __future__ import annotations

from pathlib import Path

from prefect import task

from gensr_model.config import PipelineConfig
from tasks.home import home
from tasks.ingest import build_raw, source_digest, source_files
from tasks.prepare import build_prepared
from tasks.stage import StageResult, Work, stage
from tasks.validate import validate_folders

_DUCK = ("tasks/duck.py", "gensr_model/errors.py")


@task(name="source", task_run_name="source")
def find_source(config: PipelineConfig) -> StageResult:
    """Generate, download or look up the raw files; the key is the digest of their names and contents."""
    folder = source_files(config, home().root)
    return StageResult("source", source_digest(folder, config.format), folder, {}, 0.0, False)


@stage(
    "ingest",
    code=(
        "tasks/ingest.py",
        "tasks/ingest_amazon.py",
        "tasks/ingest_kuaisar.py",
        "tasks/csvblocks.py",
        "tasks/rawfiles.py",
        "tasks/rejects.py",
        "sql",
        *_DUCK,
    ),
    config=("format", "ingest"),
    artifacts=("manifest.json", "rejects.parquet"),
)
def ingest(work: Work, config: PipelineConfig, source: Path) -> None:
    """Reads the raw files; writes ``raw/``: typed tables, rejected lines, an account of every line."""
    build_raw(config, source, work.out)


@stage(
    "prepare",
    code=("tasks/prepare.py", "tasks/prepared_files.py", "tasks/candidates.py", "sql", *_DUCK),
    config=("name", "format", "prepare", "seed"),
    artifacts=("manifest.json",),
)
def prepare(work: Work, config: PipelineConfig, raw: Path) -> None:
    """Reads ``raw/``; writes the prepared dataset: queries, k-core, splits, frozen candidates."""
    build_prepared(raw, config, work.out)


@stage(
    "validate",
    code=(
        "tasks/validate.py",
        "tasks/expectation_run.py",
        "tasks/audit.py",
        "expectations",
        "sql/audit",
        *_DUCK,
    ),
    config=("format", "prepare"),
    artifacts=("**/*",),
)
def validate(work: Work, config: PipelineConfig, raw: Path, prepared: Path) -> dict[str, float] | None:
    """Reads ``raw/`` and ``prepared/``; writes results and Data Docs. A failing expectation stops the run."""
    return validate_folders(raw, prepared, config, work.out)
