"""The last step: ``report.html``, all of a finished run on one page, from the folders that its stages left.

Alone, for any finished run: ``python -m tasks.report .gensr/runs/latest``.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from prefect import task

from gensr_model.errors import DataError, GensrError
from gensr_model.reporting.facts import Facts
from gensr_model.reporting.page import render
from tasks.audit import audit_rule
from tasks.examples import EXAMPLES
from tasks.home import home
from tasks.publish import REPORT, links, point_latest
from tasks.stage import RECORD
from tasks.summary import trained_model
from tasks.tracking import Tracked

_AUDITS = "audits.json"


@task(name="report", task_run_name="report")
def write_report(run_id: str, flow_run_id: str, summary: dict[str, Any]) -> str:
    """Write ``runs/<flow run>/report.html`` from a published summary, and MLflow's copy; returns its path."""
    where = home()
    folder = where.runs / flow_run_id
    page = folder / REPORT
    page.write_text(render(collect(summary, where.store)), encoding="utf-8")
    Tracked.existing(run_id).artifacts(folder, (REPORT,))
    point_latest(flow_run_id)
    return str(page)


def collect(summary: dict[str, Any], store: Path) -> Facts:
    """What the stages of a run left in the store; DataError where a folder of the run is gone."""
    folders = {s["label"]: _folder(store, s["label"], s["key"]) for s in summary["stages"]}
    ingest, prepare = folders["ingest"], folders["prepare"]
    checks = [folders["validate-raw"], folders["validate"]]
    trained = {model: folders[s["label"]] for s in summary["stages"] if (model := trained_model(s["label"]))}
    audits = _json(folders["validate"] / _AUDITS)
    rejects = pq.read_table(ingest / "rejects.parquet", columns=["reason"])["reason"].to_pylist()
    records = {label: _json(folder / RECORD) for label, folder in folders.items()}
    return Facts(
        summary=_without_paths(summary),
        made=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        links=links(summary),
        manifest=_json(prepare / "manifest.json"),
        reading=_json(ingest / "manifest.json"),
        rejects=dict(Counter(rejects).most_common()),
        profile=[row for folder in checks for row in _json(folder / "profile.json")["columns"]],
        checks=[row for folder in checks for row in _suites(folder)],
        audits=[
            {"name": a["name"], "rule": audit_rule(a["name"]), "violations": a["violations"]}
            for a in audits["audits"]
        ],
        audit_figures=audits["figures"],
        training={model: _json(folder / "training.json") for model, folder in trained.items()},
        gradients={model: _json(folder / "gradients.json") for model, folder in trained.items()},
        stages=[
            {
                "label": s["label"],
                "seconds": s["seconds"],
                "reused": s["reused"],
                "peak_bytes": records[s["label"]].get("peak_bytes", 0),
                "peak_gpu_bytes": records[s["label"]].get("peak_gpu_bytes", 0),
                "metrics": records[s["label"]]["metrics"],
            }
            for s in summary["stages"]
        ],
        examples=_json(folders["examples"] / EXAMPLES) if "examples" in folders else [],
        segments=summary.get("diagnosis", []),
    )


def _folder(store: Path, label: str, key: str) -> Path:
    """A stage's folder by its label, ``<stage>`` or ``<stage>-<option>``; some stages have a dash in their name."""
    for name in (label, label.rpartition("-")[0], label.partition("-")[0]):
        if name and (store / name / key / RECORD).is_file():
            return store / name / key
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
            "expectations": len(found["results"]),
            "failed": sum(not r["success"] for r in found["results"]),
        }
        for name, found in suites.items()
    ]


def _without_paths(summary: dict[str, Any]) -> dict[str, Any]:
    """The summary, the folder of raw files by its name alone: a report is passed on, and where it lay is private."""
    source = summary["config"]["source"]
    if "path" not in source:
        return summary
    source = source | {"path": Path(source["path"]).name}
    return summary | {"config": summary["config"] | {"source": source}}


def main(arguments: list[str]) -> int:
    """Write the report of a finished run beside its summary; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tasks.report", description=__doc__)
    parser.add_argument("run", type=Path, help="a folder with summary.json, such as .gensr/runs/latest")
    run = parser.parse_args(arguments).run.resolve()
    try:
        if not (run / "summary.json").is_file():
            raise DataError(f"{run}: no summary.json; name the folder of a finished run")
        page = render(collect(_json(run / "summary.json"), run.parents[1] / "store"))
    except GensrError as error:
        print(f"gensr: {error}", file=sys.stderr)
        return 1
    aside = run / f"{REPORT}.tmp-{os.getpid()}"
    aside.write_text(page, encoding="utf-8")
    aside.replace(run / REPORT)
    print(run / REPORT)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
