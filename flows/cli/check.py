"""``gensr check``: shows how the data are read, before any training."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import typer

from flows.cli import options
from flows.local import installation
from gensr_model.config.data import FolderSource
from gensr_model.config.logs import LogsConfig
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.errors import DataError
from tasks.core.state_dir import state_dir


def check(
    config: options.Config = None,
    data: options.Data = None,
    data_format: options.Format = None,
    preset: options.Preset = None,
    sets: options.Sets = None,
) -> None:
    """Show how your data are read, and what to correct before a training.

    Reads the files and counts what a run would take: columns, events, texts, splits, rejected lines. Trains nothing. A
    run that follows does not read the files again. The exit status is 1 where a run could not work.

    Example: gensr check --data /data/mine
    """
    prepare_environment()
    from gensr_model.reporting.data_check import screen  # NumPy: a second

    tree, why = options.with_format(options.config_tree(config, data, data_format, preset, sets))
    wanted = PipelineConfig.model_validate(tree)
    result = look(wanted)
    result["warnings"] += unread_files(wanted, result)
    rejected = f"\nRejected lines: {result['rejects_file']}" if result["read"]["rejected"] else ""
    typer.echo(f"{describe(wanted, result)}{why}\n\n{screen(result)}{rejected}")
    if result["problem"]:
        raise DataError(result["problem"])


def describe(config: PipelineConfig, result: dict[str, Any]) -> str:
    """A description of the data."""
    source = config.source
    return f"{source.path if isinstance(source, FolderSource) else source.kind + ' data'}, read as {result['title']}"


def unread_files(config: PipelineConfig, result: dict[str, Any]) -> list[str]:
    """A warning where the folder of own logs has files of no table. Other formats find their files by name."""
    from tasks.ingest.tables.table_files import kind_of

    if not result["columns"] or not isinstance(config.source, FolderSource):
        return []
    read = {file["name"].split("/")[0] for file in result["files"]}
    names = sorted(path.name for path in Path(config.source.path).iterdir() if path.name not in read)
    left = [name for name in names if kind_of(name)]
    tables = ", ".join(f"logs.{table}.name ({getattr(config.logs, table).name})" for table in LogsConfig.tables)
    return [f"No table reads {', '.join(left)}: file names begin with {tables}."] if left else []


def prepare_environment() -> None:
    """Make Prefect, which the caller imports next, use the state folder."""
    installation.enter()
    state_dir().root.mkdir(parents=True, exist_ok=True)


def look(config: PipelineConfig) -> dict[str, Any]:
    """The content of ``check.json``, and ``rejects_file``. The result of ingest stays in the store, for the run.

    Raises DataError where the files cannot be read.
    """
    from tasks.core.stage import build_folder, stored  # Prefect: seconds
    from tasks.ingest.ingest import find_source, ingest
    from tasks.validate.check import CHECK, check_data, examine

    where, source = state_dir(), find_source.fn(config)
    key, view = ingest.key(config, source), ingest.view(config)
    raw = build_folder(where, ingest.name, key, lambda work: ingest.build(work, view, source.path))
    rejects = {"rejects_file": str(raw.path / "rejects.parquet")}
    known = stored(where, check_data.name, check_data.key(config, raw))
    if known is not None:
        return json.loads((known.path / CHECK).read_text(encoding="utf-8")) | rejects
    with tempfile.TemporaryDirectory(prefix="gensr-check-") as temp:
        return examine(raw.path, check_data.view(config), Path(temp)) | rejects
