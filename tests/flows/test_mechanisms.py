"""The flow ``analyze`` of the paper's explanation from raw files to its published tables, on real servers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest
from mlflow import MlflowClient
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterKey

from flows.mechanisms import mechanisms
from gensr_model.config import PipelineConfig
from tasks.tracking import tracking_uri

FIGURES = {
    "analyze-information": {"mutual_information.json", "mutual_information.png"},
    "analyze-gradients": {"gradient_conflict.json", "gradient_cosine.png", "validation.png"},
    "analyze-space": {"space.json", "space.png"},
    "analyze-theorem": {"theorem.json", "theorem.png"},
}


@pytest.mark.usefixtures("prefect_server")
def test_raw_files_to_published_analyses(gensr_home: Path, tiny: Callable[..., PipelineConfig]) -> None:
    analysis = {"mine_samples": 80, "mine_steps": 10, "mine_seeds": 1, "space_samples": 60, "theorem_trials": 2,
                "gradient_every": 5, "enabled": False}  # fmt: skip
    config = tiny(analysis=analysis)
    found = mechanisms(config)
    numbers = found["analysis"]
    assert {name.split("/")[0] for name in numbers} == {"information", "gradient", "space", "theorem"}
    for model in ("gensr", "two_head"):
        assert numbers[f"gradient/{model}/probes"] > 1
        assert numbers[f"information/{model}/search/bound_nats"] <= 0.6932
        assert 0 <= numbers[f"space/{model}/overlap"] <= 1

    text = (gensr_home / "runs" / found["flow_run_id"] / "mechanisms.md").read_text()
    for heading in (
        "What an answer tells",
        "Do the tasks pull together",
        "Do the tasks lie apart",
        "Theorem 4.1",
    ):
        assert f"## {heading}" in text
    with get_client(sync_client=True) as client:
        wanted = ArtifactFilter(
            key=ArtifactFilterKey(any_=["mechanisms"]),
            flow_run_id=ArtifactFilterFlowRunId(any_=[UUID(found["flow_run_id"])]),
        )
        (artifact,) = client.read_artifacts(artifact_filter=wanted)
    assert text in str(artifact.data)

    mlflow = MlflowClient(tracking_uri())
    parent = mlflow.get_run(found["mlflow"]["run_id"])
    assert parent.data.tags["flow"] == "analyze/mechanisms"
    assert parent.data.metrics["space/gensr/overlap"] == pytest.approx(numbers["space/gensr/overlap"])
    content = json.loads((gensr_home / "runs" / found["flow_run_id"] / "mechanisms.json").read_text())
    assert content == found
    assert {"mechanisms.json", "mechanisms.md"} <= _files(mlflow, parent.info.run_id)
    children = mlflow.search_runs(
        [parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'"
    )
    by_name = {child.info.run_name: child.info.run_id for child in children}
    for stage, files in FIGURES.items():
        assert files <= _files(mlflow, by_name[stage]), stage

    again = mechanisms(tiny(analysis=analysis | {"theorem": False, "information": False}))
    assert all(stage["reused"] for stage in again["stages"])
    labels = {stage["label"] for stage in again["stages"]}
    assert {"analyze-gradients", "analyze-space"} == {
        label for label in labels if label.startswith("analyze")
    }


def _files(client: MlflowClient, run_id: str) -> set[str]:
    return {file.path for file in client.list_artifacts(run_id)}
