"""The stage ``semantic-ids`` in a flow: what MLflow has of it, and that it is reused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from prefect import flow
from prefect.runtime import flow_run

from flows.shared.steps import prepare_data
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.data.prepared import PreparedDataset
from gensr_model.semantic_ids.codes import read_codes
from tasks.core.stage import StageResult
from tasks.core.state_dir import tracking_uri
from tasks.core.tracking import EXPERIMENT, parent_run
from tasks.train.semantic_ids import semantic_ids


@flow(name="codes", persist_result=False)
def codes(config: PipelineConfig) -> tuple[StageResult, StageResult]:
    with parent_run(config, "test/codes", str(flow_run.id)) as run:
        data = prepare_data(run, config)
        return data.prepared, semantic_ids(run, config, data.prepared)


@pytest.mark.usefixtures("prefect_server", "home_with_data")
def test_codes_are_logged_and_reused(tiny: Callable[..., PipelineConfig], tmp_path: Path) -> None:
    config = tiny(semantic_ids={"codes": 16, "steps": 3})
    prepared, result = codes(config)
    dataset = PreparedDataset.open(prepared.path)
    assert read_codes(result.path, dataset).shape == (dataset.n_items, 4)
    client = MlflowClient(tracking_uri())
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    (logged,) = client.search_runs([experiment.experiment_id], "tags.stage = 'semantic-ids'")
    names = {f"{name}_{level}" for name in ("usage", "perplexity") for level in (1, 2, 3)}
    names |= {"collisions", "nearest_collisions", "largest_bucket", "items_without_vector", "semantic_ids/collisions"}
    assert names <= logged.data.metrics.keys()
    local = client.download_artifacts(logged.info.run_id, "report.json", str(tmp_path))
    report: dict[str, Any] = json.loads(Path(local).read_text(encoding="utf-8"))
    assert len(report["prefixes"]) == 10
    assert report["collisions"] == logged.data.metrics["collisions"]
    assert codes(config)[1].reused
