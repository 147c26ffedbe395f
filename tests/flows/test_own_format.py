"""A data format from a file outside the package goes through ingest, prepare, validate and the report."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prefect import flow
from prefect.runtime import flow_run

from flows.shared.steps import finish, prepare_data
from gensr_model.config.pipeline import PipelineConfig
from tasks.core.tracking import parent_run
from tasks.evaluate.rank import rank_reference
from tasks.publish.summary import summarize_run

pytestmark = pytest.mark.usefixtures("prefect_server")
NAME = "toy_format:FORMAT"


@flow(name="own-format", persist_result=False)
def reference_run(config: PipelineConfig) -> dict[str, Any]:
    """What ``full_pipeline`` does without its models: the data, a reference ranker and the report."""
    with parent_run(config, "test/own-format", str(flow_run.id)) as run:
        data = prepare_data(run, config)
        ranks = {"bm25": rank_reference(run, config, data.prepared, data.cf, option="bm25")}
        summary = finish(run, summarize_run(config, data, data.stages, ranks, {}))
        return summary | {"folders": {stage.stage: str(stage.path) for stage in data.stages}}


def test_a_format_from_outside_is_ingested_prepared_validated_and_reported(
    gensr_home: Path, tiny: Callable[..., PipelineConfig]
) -> None:
    summary = reference_run(tiny(name="toys", format=NAME))
    folders = {stage: Path(folder) for stage, folder in summary["folders"].items()}
    raw = json.loads((folders["ingest"] / "manifest.json").read_text(encoding="utf-8"))
    assert (raw["read"], raw["rejected"], raw["counts"]["clicks"]) == (150 * 10 + 1 + 150, 1, 150 * 10)
    prepared = json.loads((folders["prepare"] / "manifest.json").read_text(encoding="utf-8"))
    assert (prepared["format"], prepared["split"]["rule"]) == (NAME, "by day")
    assert prepared["counts"]["read"] == {"clicks": 1500}
    assert min(row["samples"] for tasks in prepared["counts"]["samples"].values() for row in tasks.values()) > 0
    checked = json.loads((folders["validate-raw"] / "validation.json").read_text(encoding="utf-8"))
    assert checked["success"]
    assert {"raw_clicks", "raw_things", "raw_reading"} == set(checked["suites"])
    assert json.loads((folders["validate"] / "validation.json").read_text(encoding="utf-8"))["success"]
    page = (gensr_home / "runs" / summary["flow_run_id"] / "report.html").read_text(encoding="utf-8")
    assert "in the raw format of Toy" in page
    assert "Files in the exact format of Toy" in page
    assert "Amazon Kindle Store" not in page
