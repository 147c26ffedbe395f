"""Stage prepare: reads ``raw/``; writes the prepared dataset (queries, k-core, split, candidates)."""

from __future__ import annotations

import itertools
import json
import shutil
import statistics
from collections.abc import Iterable
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb

from gensr_model.config.base import TASKS, Task, digest
from gensr_model.config.data import PrepareConfig
from gensr_model.config.known_formats import lacks_order
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.errors import ConfigError, DataError
from tasks.core.cluster import connected
from tasks.core.dataset_format import DatasetFormat, dataset_format
from tasks.core.sql_runner import RESOURCES, connect, run
from tasks.core.stage import stage
from tasks.core.work import Work
from tasks.prepare import schemas as files
from tasks.prepare.candidates import draw_candidates, require_candidates
from tasks.prepare.interactions import filter_interactions, read_interactions, run_steps, tables_of

SCHEMA_VERSION = 1
# Fields of ``prepare`` that decide the output. The others say where DuckDB runs and change no byte.
PREPARE_FIELDS = tuple(field for name in PrepareConfig.model_fields if (field := f"prepare.{name}") not in RESOURCES)
DECIDING = tuple(field.removeprefix("prepare.") for field in PREPARE_FIELDS)
_LOGS_FIELDS = (
    "logs.keep_users",
    "logs.category_queries",
    "logs.events.search_by",
    "logs.queries.without_text",
)
_EVAL_SPLITS = ("valid", "test")
_DAYS_SHOWN = 10
_FEW = 0.05  # share of a usual day's events; a wrong clock or a cut export leaves less


def build_prepared(raw: Path, config: PipelineConfig, out: Path) -> None:
    """Fill the empty folder ``out`` with the prepared dataset from the folder ``raw``.

    The same ``raw``, ``config.prepare`` and ``config.seed`` give byte-identical Parquet files.

    Raises:
        DataError: the data cannot be trained or evaluated on: filters that leave nothing, a split without samples of a
            task, no query, or a catalogue too small for the candidates.
        ConfigError: ``prepare.same_time`` needs an order that the format lacks.
    """
    entry = dataset_format(config.format)
    if reason := lacks_order(entry.facts, config.prepare.same_time):
        raise ConfigError(reason)
    raw_manifest = _raw_manifest(raw, config)
    temp = out / "duckdb-temp"
    counts: dict[str, Any] = {}
    with (
        connect(config.prepare, temp) as con,
        connected(config.prepare.dask, "prepare.dask", out) as cluster,
    ):
        filter_interactions(read_interactions(con, raw, config, counts, temp, cluster), config, counts)
        tasks = make_samples(con, config, counts)
        for step in ("graph", "met"):
            run(con, f"prepared/{step}")
        require_candidates(con, config.prepare, counts)
        _write_tables(con, out, entry.preparing.files, counts)
        for split in _EVAL_SPLITS:
            path = out / f"candidates_{split}.parquet"
            counts[f"candidates_{split}"] = draw_candidates(con, split, config.prepare, config.seed, path, cluster)
        later_share = files.one_row(con, "prepared/later_share")["later_share"]
    shutil.rmtree(temp, ignore_errors=True)
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "code_version": metadata.version("gensr"),
        "format": config.format,
        "name": config.name,
        "seed": config.seed,
        "config": _decided_by(config.prepare),
        "raw_digest": digest(raw_manifest["files"]),
        "raw_files": raw_manifest["files"],
        "split": {"rule": entry.facts.split, "leave_one_out_later_share": later_share} | counts.pop("split", {}),
        "counts": counts,
    }
    if entry.preparing.may_lack_task:
        manifest["tasks"] = tasks
    (out / "manifest.json").write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _decided_by(config: PrepareConfig) -> dict[str, Any]:
    """The fields that decide the output, without defaults of ``same_time`` and ``until``.

    Models trained on datasets without these fields keep their keys, because the bytes of the dataset are the same.
    """
    fields = {name: getattr(config, name) for name in DECIDING}
    if config.same_time == "exclude":
        del fields["same_time"]
    if config.until is None:
        del fields["until"]
    return fields


def _raw_manifest(raw: Path, config: PipelineConfig) -> dict[str, Any]:
    path = raw / "manifest.json"
    if not path.is_file():
        raise DataError(f"{raw} has no manifest.json, so it is no folder that ingest completed. Run ingest again.")
    manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if manifest.get("format") != config.format:
        raise DataError(
            f"{path}: the raw folder has format {manifest.get('format')!r}, but the config says "
            f"{config.format!r}. Set `format` to that of the files."
        )
    return manifest


def make_samples(con: duckdb.DuckDBPyConnection, config: PipelineConfig, counts: dict[str, Any]) -> list[Task]:
    """Make the tables ``users``, ``items``, ``queries``, ``events``, ``samples``, and ``impressions`` where the format
    made ``shown``. Returns the tasks.

    Raises DataError for a split without samples of a task.
    """
    entry = dataset_format(config.format)
    run(con, "prepared/item_rows")
    run_steps(con, (*entry.preparing.searches, *entry.preparing.item_text), config, counts)
    for step in ("users", "items", "queries", "events"):
        run(con, f"prepared/{step}")
    if "shown" in tables_of(con):
        for step in ("impressions", "drop_shown"):
            run(con, f"prepared/{step}")
    run_steps(con, entry.preparing.event_split, config, counts)
    run(con, "prepared/samples", {"include": config.prepare.same_time == "include"})
    return _require_samples(con, entry, config, counts)


def _require_samples(
    con: duckdb.DuckDBPyConnection, entry: DatasetFormat, config: PipelineConfig, counts: dict[str, Any]
) -> list[Task]:
    """Count the samples of each split and task. Raises DataError for an empty one.

    Returns both tasks, or the tasks with samples where the format allows a missing one.
    """
    samples = {
        (split, task): {"samples": samples, "empty_history": empty}
        for split, task, samples, empty in run(con, "prepared/sample_counts").fetchall()
    }
    none = {"samples": 0, "empty_history": 0}
    splits = ("train", *_EVAL_SPLITS)
    counts["samples"] = {s: {t: samples.get((s, t), none) for t in TASKS} for s in splits}
    tasks = [t for t in TASKS if not entry.preparing.may_lack_task or any((s, t) in samples for s in splits)]
    missing = [f"{s}/{t}" for s in splits for t in tasks if (s, t) not in samples]
    if missing:
        days = entry.preparing.days
        zone = days(config, counts) if callable(days) else days
        have = ", ".join(f"{s}/{t}: {counts['samples'][s][t]['samples']}" for s in splits for t in TASKS)
        raise DataError(
            f"no samples for {', '.join(missing)} ({counts.get('split', {}).get('rule', entry.facts.split_rule)}); "
            f"samples: {have}. {_late_days(con, zone) or 'Bring data that covers it'}"
        )
    return tasks


def _late_days(con: duckdb.DuckDBPyConnection, zone: str | None) -> str:
    """Events per day, with advice where the last days hold hardly any. Empty for another split."""
    if zone is None:
        return ""
    days = run(con, "prepared/days", {"zone": zone}).fetchall()
    usual = statistics.median(events for _, events in days)
    late = list(itertools.takewhile(lambda row: row[1] <= max(1, usual * _FEW), reversed(days)))
    counted = ", ".join(f"{day}: {events:,}" for day, events in days[-_DAYS_SHOWN:])
    shown = f"Events per day in {zone}: {'..., ' if len(days) > _DAYS_SHOWN else ''}{counted}"
    if not late or len(late) == len(days):
        return f"{shown}. Bring data that covers it"
    day, left_out = late[-1][0], sum(events for _, events in late)
    starts = datetime.combine(day, datetime.min.time(), ZoneInfo(zone)).isoformat(timespec="minutes")
    return f'{shown}. From {day} on there are {left_out}: to leave them out, set prepare.until to "{starts}"'


def _write_tables(
    con: duckdb.DuckDBPyConnection, out: Path, further: Iterable[tuple[str, str]], counts: dict[str, Any]
) -> None:
    shared = [(table, f"prepared/files/{table}") for table in ("items", "users", "queries", "events", "graph")]
    made = tables_of(con)
    optional = (*further, ("impressions", "prepared/files/impressions"))
    for table, name in (*shared, *(file for file in optional if file[0] in made)):
        batches = files.rows_of(con, name)
        counts[table] = files.write(out / f"{table}.parquet", files.TABLES[table], batches)
    for split in ("train", *_EVAL_SPLITS):
        batches = files.rows_of(con, "prepared/files/samples", {"split": split})
        counts[f"samples_{split}"] = files.write(out / f"samples_{split}.parquet", files.SAMPLES, batches)


@stage(
    "prepare",
    config=("name", "format", *PREPARE_FIELDS, "logs.split", *_LOGS_FIELDS, "seed"),
    resources=RESOURCES,
    artifacts=("manifest.json",),
    format_parts=("preparing",),
    facts=lambda config: {"split": dataset_format(config.format).facts.split},
)
def prepare(work: Work, config: PipelineConfig, raw: Path) -> None:
    """Reads ``raw/``; writes the prepared dataset: queries, k-core, splits, frozen candidates."""
    build_prepared(raw, config, work.out)
