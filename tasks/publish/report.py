"""The last step: ``report.html``, all of a finished run on one page, from the folders that its stages left.

Alone, for any finished run: ``gensr report --anew``.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from prefect import task

from gensr_model.config.studies import SavedRanks
from gensr_model.errors import DataError
from gensr_model.reporting.page import render
from gensr_model.reporting.run_facts import MECHANISMS, SPACE, RunFacts
from gensr_model.runtime.stage_folder import RECORD
from tasks.core.dataset_format import dataset_format
from tasks.core.state_dir import state_dir
from tasks.core.tracking import Tracked
from tasks.evaluate.examples import EXAMPLES
from tasks.publish.publish import REPORT, links
from tasks.publish.summary import trained_model
from tasks.validate.audit import audit_rule
from tasks.validate.check import CHECK

_AUDITS, _PROBES = "audits.json", "gradients.json"
_PATH = re.compile(r"(?<![\w/:.])/(?:[^\s'\":;,()]+/)+([^\s'\":;,()]+)")  # absolute, of more than one name
_DATA = {"ingest", "validate-raw", "prepare", "validate"}  # stages that every run has


@task(name="report", task_run_name="report")
def write_report(run_id: str, flow_run_id: str, summary: dict[str, Any]) -> str:
    """Write ``runs/<flow run>/report.html`` from a published summary, and MLflow's copy; returns its path."""
    where = state_dir()
    folder = where.runs / flow_run_id
    page = folder / REPORT
    page.write_text(render(collect(summary, where.store)), encoding="utf-8")
    Tracked.existing(run_id).artifacts(folder, (REPORT,))
    return str(page)


def collect(summary: dict[str, Any], store: Path) -> RunFacts:
    """What the stages of a run left in the store; DataError where a folder of the run is gone."""
    folders = {s["label"]: _folder(store, s["label"], s["key"]) for s in summary["stages"]}
    if not folders.keys() >= _DATA:
        raise DataError("this run's summary does not name all stages of its data: run it again with this version")
    ingest, prepare = folders["ingest"], folders["prepare"]
    checks = [folders["validate-raw"], folders["validate"]]
    trained = {model: folders[s["label"]] for s in summary["stages"] if (model := trained_model(s["label"]))}
    audits = _json(folders["validate"] / _AUDITS)
    rejects = pq.read_table(ingest / "rejects.parquet", columns=["reason"])["reason"].to_pylist()
    return RunFacts.from_summary(
        _without_paths(summary),
        data_format=dataset_format(summary["format"]).facts,
        made=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        links=links(summary),
        manifest=_json(prepare / "manifest.json"),
        reading=_json(ingest / "manifest.json"),
        rejects=dict(Counter(rejects).most_common()),
        check=_json(folders["check"] / CHECK) if "check" in folders else {},  # none of a run before that stage
        profile=[row for folder in checks for row in _json(folder / "profile.json")["columns"]],
        checks=[row for folder in checks for row in _suites(folder)],
        audits=[
            {"name": a["name"], "rule": audit_rule(a["name"]), "violations": a["violations"]} for a in audits["audits"]
        ],
        audit_figures=audits["figures"],
        training={model: _training(folder) for model, folder in trained.items()},
        gradients=_probes(summary, trained),
        stages=[_stage(folders[s["label"]], s) for s in summary["stages"]] + _stages_of_studies(summary, store),
        examples=_json(folders["examples"] / EXAMPLES) if "examples" in folders else [],
        semantic_ids=_semantic_ids(summary, store),
        pictures=_pictures(folders),
    )


def _probes(summary: dict[str, Any], trained: dict[str, Path]) -> dict[str, list[dict[str, float]]]:
    """Of the models that gradients are compared of: those of a run, not the many of a study."""
    if summary.get("study", MECHANISMS) != MECHANISMS:
        return {}
    return {name: _json(folder / _PROBES) for name, folder in trained.items() if (folder / _PROBES).is_file()}


def _training(folder: Path) -> dict[str, Any]:
    """``training.json`` of a trained model, with how long it took and the step at which it went on."""
    metrics = _json(folder / RECORD)["metrics"]
    times = {"seconds": metrics["seconds"], "resumed_at": int(metrics["resumed_at"])}
    return _json(folder / "training.json") | times


def _stage(folder: Path, stage: dict[str, Any]) -> dict[str, Any]:
    record = _json(folder / RECORD)
    shown = {name: stage[name] for name in ("label", "seconds", "reused")}
    shown["built_on"] = record.get("built_on", "")
    peaks = {name: record.get(name, 0) for name in ("peak_bytes", "peak_gpu_bytes")}
    return shown | peaks | {"metrics": record["metrics"]}


def _stages_of_studies(summary: dict[str, Any], store: Path) -> list[dict[str, Any]]:
    """Stages that a study within a run has beside the run's own, labelled by the study."""
    known, rows = {s["key"] for s in summary["stages"]}, []
    for name, study in summary.get("studies", {}).items():
        for s in study["stages"]:
            if s["key"] not in known:
                known.add(s["key"])
                rows.append(_stage(_folder(store, s["label"], s["key"]), s | {"label": f"{name}: {s['label']}"}))
    return rows


def _semantic_ids(summary: dict[str, Any], store: Path) -> dict[str, Any]:
    """``report.json`` of the codes that the run, or a study in it, made; empty without."""
    of_studies = (stage for study in summary.get("studies", {}).values() for stage in study["stages"])
    for stage in (*summary["stages"], *of_studies):
        if stage["label"] == "semantic-ids":
            return dict(_json(_folder(store, stage["label"], stage["key"]) / "report.json"))
    return {}


def _pictures(folders: dict[str, Path]) -> dict[str, bytes]:
    """Figures that are no drawing of numbers: there is none where a task had too few samples."""
    drawn = folders["analyze-space"] / "space.png" if "analyze-space" in folders else None
    return {SPACE: drawn.read_bytes()} if drawn and drawn.is_file() else {}


def _folder(store: Path, label: str, key: str) -> Path:
    """A stage's folder by its label, ``<stage>-<option>-<note>``; some stages have a dash in their name."""
    parts = label.split("-")
    for end in range(len(parts), 0, -1):
        folder = store / "-".join(parts[:end]) / key
        if (folder / RECORD).is_file():
            return folder
    raise DataError(
        f"{store}: the folder of stage {label} ({key}) is gone; run the pipeline again, it builds what is missing"
    )


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _suites(folder: Path) -> list[dict[str, Any]]:
    """Rows of "suite", "expectations", "failed" of a validation."""
    suites = _json(folder / "validation.json")["suites"]
    return [
        {
            "suite": name,
            "expectations": len(suite["results"]),
            "failed": sum(not r["success"] for r in suite["results"]),
        }
        for name, suite in suites.items()
    ]


def _without_paths(summary: dict[str, Any]) -> dict[str, Any]:
    """The summary, folders and files by their names alone: a report is passed on, and where they lay is private."""
    summary = json.loads(json.dumps(summary))
    config = summary["config"]
    places = [(config["source"], "path"), (config["model"]["backbone"], "name_or_path")]
    places += [(config["semantic_ids"], "vectors")] if "semantic_ids" in config else []  # an older run has none
    for place, name in places:
        if Path(place.get(name) or "").is_absolute():
            place[name] = Path(place[name]).name
    saved = map(SavedRanks.model_validate, config["rerank"]["saved_ranks"])
    config["rerank"]["saved_ranks"] = [ranks.without_folder() for ranks in saved]
    why = summary.get("studies_failed", {})
    why.update({name: _shortened(error) for name, error in why.items()})
    for study in (summary, *summary.get("studies", {}).values()):
        for system in study.get("failed", []):
            system["error"] = _shortened(system["error"])
    return dict(summary)


def _shortened(error: str) -> str:
    """An error with absolute paths cut to their last name; addresses of the web stay."""
    return _PATH.sub(r"\1", error)


def rewrite(run: Path) -> Path:
    """Write the report of a finished run once more; its path. DataError where the run has no summary."""
    if not (run / "summary.json").is_file():
        raise DataError(f"{run}: no summary.json; name the folder of a finished run")
    page = render(collect(_json(run / "summary.json"), run.parents[1] / "store"))
    aside = run / f"{REPORT}.tmp-{os.getpid()}"
    aside.write_text(page, encoding="utf-8")
    return aside.replace(run / REPORT)
