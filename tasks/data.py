"""Stages 1 to 4 for the flows: where the raw files are, ingest, prepare, and what is checked after each."""

from __future__ import annotations

from pathlib import Path

from prefect import task

from gensr_model.config import PipelineConfig
from tasks.drift import measure_drift
from tasks.home import home
from tasks.ingest import CODE, build_raw, source_digest, source_files
from tasks.prepare import DECIDING, build_prepared
from tasks.stage import StageResult, Work, stage
from tasks.validate import validate_prepared, validate_raw

_PREPARE = tuple(f"prepare.{field}" for field in DECIDING)


@task(name="source", task_run_name="source")
def find_source(config: PipelineConfig) -> StageResult:
    """Generate, download or look up the raw files; the key is the digest of their names and contents."""
    folder = source_files(config, home().root)
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
    build_raw(config, source, work.out, kept=home().parts)


@stage(
    "validate-raw",
    code=("tasks/validate.py", "sql/validate", "sql/profile"),
    config=("format", "ingest"),
    artifacts=("**/*",),
)
def check_raw(work: Work, config: PipelineConfig, raw: Path) -> dict[str, float]:
    """Reads ``raw/``; writes results and Data Docs. A failing expectation stops the run before the long stages."""
    return validate_raw(raw, config, work.out)


@stage(
    "prepare",
    code=("tasks/prepare.py", "sql/amazon", "sql/kuaisar", "sql/prepared"),
    config=("name", "format", *_PREPARE, "seed"),
    artifacts=("manifest.json",),
)
def prepare(work: Work, config: PipelineConfig, raw: Path) -> None:
    """Reads ``raw/``; writes the prepared dataset: queries, k-core, splits, frozen candidates."""
    build_prepared(raw, config, work.out)


@stage(
    "validate",
    code=("tasks/validate.py", "sql/validate", "sql/audit", "sql/prepared", "sql/profile", "sql/drift"),
    config=("format", "ingest", *_PREPARE),
    artifacts=("**/*",),
)
def check_prepared(work: Work, config: PipelineConfig, prepared: Path) -> dict[str, float]:
    """Reads the prepared dataset; audits its promises, writes results and Data Docs. A failure stops the run."""
    return validate_prepared(prepared, config, work.out)


@stage(
    "drift",
    code=("tasks/drift.py", "sql/drift", "sql/audit"),
    config=(*_PREPARE, "retrain.max_psi", "retrain.on_drift"),
    artifacts=("**/*",),
)
def check_drift(work: Work, config: PipelineConfig, prepared: Path, champion_data: Path) -> dict[str, float]:
    """Reads the prepared dataset and the bins of the champion's; stops the run only where the config says so."""
    return measure_drift(prepared, champion_data, config, work.out)
