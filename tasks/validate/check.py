"""Stage check: reports how the raw data are read, and whether a run could work with them. It trains nothing.

Its counts come from the steps of prepare, so they are those of the following run.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import duckdb

from gensr_model.config.base import SEARCH_ONLY, Task
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.errors import DataError
from gensr_model.runtime.files import write_json
from tasks.core.cluster import Cluster, connected
from tasks.core.dataset_format import dataset_format
from tasks.core.sql_runner import RESOURCES, connect, open_parquet, run, to_arrow
from tasks.core.stage import stage
from tasks.core.work import Work
from tasks.prepare import schemas as files
from tasks.prepare.candidates import require_candidates
from tasks.prepare.interactions import filter_interactions, read_interactions
from tasks.prepare.prepare import make_samples, prepare
from tasks.validate.advice import problem_in_words, warnings

CHECK = "check.json"


def examine(raw: Path, config: PipelineConfig, temp: Path) -> dict[str, Any]:
    """How the folder ``raw`` is read, as JSON. The caller deletes ``temp``.

    ``problem`` says why a run could not work, or is None. Steps after a failed step are left out.
    """
    manifest = json.loads((raw / "manifest.json").read_text(encoding="utf-8"))
    result = _understood(manifest, config) | {"counts": {}, "problem": None}
    with (
        connect(config.prepare, temp) as con,
        connected(config.prepare.dask, "prepare.dask", temp) as cluster,
    ):
        open_parquet(con, raw / "rejects.parquet").create_view("rejects")
        result["rejects"] = to_arrow(con, "check/rejects").to_pylist()
        try:
            _follow(con, raw, config, result, temp, cluster)
        except DataError as error:
            result["problem"] = error.full_message
        _measure(con, config, result)
    result["warnings"] = warnings(result, config)
    if result["problem"]:
        result["problem"] = problem_in_words(result["problem"], result, config)
    return result


def _understood(manifest: dict[str, Any], config: PipelineConfig) -> dict[str, Any]:
    """Ingest's facts about files, tables and columns. Where a format detects no columns, they are fixed."""
    entry = dataset_format(config.format)
    read = [file.get("understood", {}) for file in manifest["files"]]
    columns: dict[tuple[str, ...], dict[str, Any]] = {}
    unused: dict[str, dict[str, None]] = {}
    types: dict[str, dict[str, Any]] = {}
    without = [set(file["behaviors_without_rows"]) for file in read if "behaviors_without_rows" in file]
    for file in filter(None, read):
        for role, column in file["columns"].items():
            key = (file["table"], role, *column["columns"])
            row = {"table": file["table"], "role": role, **column, "files": 0}
            columns.setdefault(key, row)["files"] += 1
        unused.setdefault(file["table"], {}).update(dict.fromkeys(file["unused"]))
        for name, each in file.get("event_types", {}).items():
            types.setdefault(name, each | {"rows": 0})["rows"] += each["rows"]
    units = {(u["unit"], u["why"], u.get("read_in")): None for file in read if (u := file.get("time_unit"))}
    return {
        "format": config.format,
        "title": entry.facts.title,
        "read": {name: manifest[name] for name in ("read", "accepted", "rejected")},
        "files": manifest["files"],
        "tables": [made for t in entry.reading.tables if (made := _table(t.name, manifest, read))["rows"]],
        "columns": list(columns.values()),
        "fixed_columns": {t.name: t.schema.names for t in entry.reading.tables} if not any(read) else {},
        "unused": {name: list(names) for name, names in unused.items()},
        "event_types": types,
        "untyped": sum(file.get("untyped", 0) for file in read),
        "behaviors_without_rows": sorted(set.intersection(*without)) if without else [],
        "time_units": [{"unit": unit, "why": why, "read_in": zone} for unit, why, zone in units],
        "notes": manifest.get("notes", {}),
    }


def _table(name: str, manifest: dict[str, Any], read: list[dict[str, Any]]) -> dict[str, Any]:
    own = [file for file in read if file.get("table") == name]
    kinds = dict.fromkeys(
        file["kind"] + (f" with {file['delimiter']!r}" if "delimiter" in file else "") for file in own
    )
    rows = manifest.get("counts", {}).get(name, 0)
    return {"table": name, "rows": rows, "files": len(own) if any(read) else None, "kinds": ", ".join(kinds)}


def _follow(
    con: duckdb.DuckDBPyConnection,
    raw: Path,
    config: PipelineConfig,
    result: dict[str, Any],
    temp: Path,
    cluster: Cluster | None,
) -> None:
    """Run the steps of prepare up to the samples. Raises DataError where a run would stop."""
    rows = read_interactions(con, raw, config, result["counts"], temp, cluster)
    result["events"] = files.one_row(con, "check/interactions")
    filter_interactions(rows, config, result["counts"])
    result["tasks"] = make_samples(con, config, result["counts"])
    require_task(config, result["tasks"])
    run(con, "prepared/met")
    require_candidates(con, config.prepare, result["counts"])


def _measure(con: duckdb.DuckDBPyConnection, config: PipelineConfig, result: dict[str, Any]) -> None:
    """Figures of the existing tables. A step that stopped leaves the tables of earlier steps."""
    entry = dataset_format(config.format)
    there = {name for (name,) in con.execute("show tables").fetchall()}
    if "events" not in result and "interactions" in there:
        result["events"] = files.one_row(con, "check/interactions")
    if "samples" not in there:
        return
    days = entry.preparing.days
    zone = days(config, result["counts"]) if callable(days) else days
    result["days_decide"], result["zone"] = zone is not None, zone or "UTC"
    result["split"] = {"rule": entry.facts.split} | result["counts"].pop("split", {})
    result["days"] = to_arrow(con, "check/days", {"zone": result["zone"]}).to_pylist()
    result["text"] = files.one_row(con, "check/text")
    queries = files.one_row(con, "check/queries")
    scripts = {name: number for name, number in list(queries.items())[3:] if number}
    result["queries"] = dict(list(queries.items())[:3]) | {"scripts": scripts}


def require_task(config: PipelineConfig, tasks: list[Task]) -> None:
    """Raise DataError where the data have no sample of the tasks that the config trains and ranks."""
    protocol = config.evaluation.protocol
    ranked = [task for task in tasks if task == "search" or protocol not in SEARCH_ONLY]
    if any(task in config.train.trained_tasks for task in ranked):
        return
    raise DataError(
        f"no sample of a configured task: train.tasks is {config.train.tasks} and evaluation.protocol {protocol}, and "
        f"the data have {' and '.join(tasks)} alone. Set train.tasks to {tasks[0]}"
        + (", and evaluation.protocol to uniform" if protocol in SEARCH_ONLY else "")
        + ", or bring events of the other task"
    )


@stage(
    "check",
    config=(*(field for field in prepare.config if field != "name"), "train.tasks", "evaluation.protocol"),
    resources=RESOURCES,
    artifacts=(CHECK,),
    format_parts=("facts", "reading.tables", "preparing", "advice", "larger_test"),
)
def check_data(work: Work, config: PipelineConfig, raw: Path) -> dict[str, float]:
    """Reads ``raw/``; writes ``check.json``: how the data are read, and warnings. Stops a run that could not work."""
    temp = work.out / "duckdb-temp"
    result = examine(raw, config, temp)
    shutil.rmtree(temp)
    write_json(work.out / CHECK, result, sort_keys=False)
    if result["problem"]:
        raise DataError(result["problem"])
    return {"warnings": float(len(result["warnings"]))}
