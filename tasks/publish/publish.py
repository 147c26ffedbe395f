"""Stage 10: publish the summary as a file, a Prefect artifact, and files of the MLflow run."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from prefect import task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE

from gensr_model.reporting import renderers, run_sections
from gensr_model.reporting.run_facts import ABLATION, SWEEP
from gensr_model.runtime.files import write_json
from tasks.core.run_log import run_logger
from tasks.core.state_dir import point_latest, state_dir, tracking_uri
from tasks.core.tracking import Tracked, run_page
from tasks.promote.record import Decision, log_decision
from tasks.validate.profile import PROFILE

REPORT = "report.html"
_RUN_FIELDS = {"dataset", "format", "source", "preset", "seed", "negatives", "config", "config_hash",
                    "dataset_digest", "commit"}  # fmt: skip


@task(name="publish", task_run_name="publish", cache_policy=NO_CACHE)
def publish(
    run_id: str,
    flow_run_id: str,
    summary: dict[str, Any],
    key: str = "summary",
    tables: Mapping[str, pa.Table] = MappingProxyType({}),
) -> dict[str, Any]:
    """Write ``runs/<flow run>/summary.json`` and ``table.md``, the artifact ``key``, and MLflow's copy of both.

    The artifact links the page that ``write_report`` makes from the returned summary. The table is published first, so
    that no error of the page can prevent it.

    ``tables`` are written beside them, as ``<name>.parquet``. Further rows of a summary, or of a study in it, become a
    Parquet file and a table in MLflow too.
    """
    run = Tracked.existing(run_id)
    full = summary | {"mlflow": {"experiment_id": run.experiment_id, "run_id": run_id}, "flow_run_id": flow_run_id}
    text = markdown(full)
    folder = state_dir().runs / flow_run_id
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "summary.json", full, sort_keys=False)  # the report has this order too
    (folder / "table.md").write_text(text, encoding="utf-8")
    studies = full.get("studies", {})
    for name in ("diagnosis", ABLATION, SWEEP):
        if rows := full.get(name) or studies.get(name, {}).get(name):
            pq.write_table(pa.Table.from_pylist(rows), folder / f"{name}.parquet")
            run.table(f"{name}.json", rows)
    for name, rows_of in tables.items():
        pq.write_table(rows_of, folder / f"{name}.parquet", compression="zstd")
    point_latest(flow_run_id)
    run.artifacts(folder, ("*",))
    run.metrics(headline(full))
    create_markdown_artifact(text + links_text(full), key=key, description=f"{full['dataset']}: results")
    return full


def markdown(summary: dict[str, Any]) -> str:
    """``table.md``: every table of a run and of its studies, GenSR first."""
    return renderers.page(*run_sections.summary_sections(summary))


@task(name="publish-profile", task_run_name="publish-profile")
def publish_profile(run_id: str, raw: str, prepared: str) -> None:
    """Publish the profiles from the folders of the two validations: a table in Prefect and one in MLflow."""
    columns: list[dict[str, Any]] = []
    for folder in (raw, prepared):
        columns += json.loads((Path(folder) / PROFILE).read_text(encoding="utf-8"))["columns"]
    first = ("table", "column")
    rows = [{name: row[name] for name in (*first, *(n for n in row if n not in first))} for row in columns]
    Tracked.existing(run_id).table("profile.json", rows)
    create_table_artifact(rows, key="profile", description="Columns of the raw and of the prepared tables")


def headline(summary: dict[str, Any]) -> dict[str, float]:
    """``model/task/metric`` of every model, for comparing runs in one MLflow table."""
    results = summary["results"]
    if isinstance(results, list):  # of all systems: rows of means over seeds
        return {f"{r['system']}/{r['task']}/{r['metric']}": r["mean"] for r in results}
    rows = ((name, task, row) for task, models in results.items() for name, row in models.items())
    return {f"{name}/{task}/{m}": value for name, task, row in rows for m, value in row.items()} | summary["analysis"]


def part_of_run(study: dict[str, Any]) -> dict[str, Any]:
    """A study's summary within that of its run, without what both hold."""
    return {name: value for name, value in study.items() if name not in _RUN_FIELDS}


def links(summary: dict[str, Any]) -> dict[str, str]:
    """Name -> address of the run in MLflow and in Prefect, where these are servers."""
    addresses = {}
    uri, api = tracking_uri(), os.environ.get("PREFECT_API_URL", "")
    if uri.startswith("http"):
        addresses["MLflow"] = run_page(uri, summary["mlflow"])
    if api:
        addresses["Prefect"] = f"{api.removesuffix('/api')}/runs/flow-run/{summary['flow_run_id']}"
    return addresses


def links_text(summary: dict[str, Any]) -> str:
    """The end of the artifact. The report is a file, so MLflow's server shows it, or the text names it."""
    addresses = links(summary)
    path = state_dir().runs / summary["flow_run_id"] / REPORT
    at_mlflow = f" ([in MLflow]({addresses['MLflow']}/artifacts/{REPORT}))" if "MLflow" in addresses else ""
    lines = [f"- Report: `{path}`{at_mlflow}"]
    lines += [f"- [{name} run]({address})" for name, address in addresses.items()]
    return "\n".join(["", "## Links", "", *lines, ""])


@task(name="publish-decision", task_run_name="publish-decision")
def publish_decision(decision: Decision, key: str) -> None:
    """Show a run's saved decision as Prefect's artifact ``key``, and log it to the MLflow run, if any."""
    create_markdown_artifact(decision.markdown(), key=key, description=f"{decision.outcome}: {decision.reason}"[:200])
    run_logger().info("%s: %s. %s", decision.model, decision.outcome, decision.reason)
    log_decision(decision)
