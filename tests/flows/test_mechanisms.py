"""The flow ``analyze`` of the paper's explanation from raw files to its published tables, on real servers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest
from mlflow import MlflowClient
from parsed import Parsed
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterKey

from flows.full_pipeline import full_pipeline
from flows.mechanisms import mechanisms
from flows.rerank_table import rerank_table
from gensr_model.config.pipeline import PipelineConfig
from tasks.core.state_dir import tracking_uri

FIGURES = {
    "analyze-information": {"mutual_information.json", "mutual_information.png"},
    "analyze-gradients": {"gradient_conflict.json", "gradient_cosine.png", "validation.png"},
    "analyze-space": {"space.json", "space.png"},
    "analyze-theorem": {"theorem.json", "theorem.png"},
}


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_server")
def test_raw_files_to_published_analyses(home_with_data: Path, tiny: Callable[..., PipelineConfig]) -> None:
    analysis = {"mine_samples": 80, "mine_steps": 10, "mine_seeds": 1, "space_samples": 60, "theorem_trials": 2,
                "gradient_every": 5, "enabled": False}  # fmt: skip
    rerank = {"epochs": 1, "batch_size": 64, "systems": ["unisar"]}
    config = tiny(analysis=analysis, rerank=rerank)
    result = mechanisms(config)
    numbers = result["analysis"]
    assert {name.split("/")[0] for name in numbers} == {"information", "gradient", "space", "theorem"}
    for model in ("gensr", "two_head", "unisar"):
        assert numbers[f"gradient/{model}/probes"] > 1
        assert numbers[f"information/{model}/search/bound_nats"] <= 0.6932
        assert 0 <= numbers[f"space/{model}/overlap"] <= 1

    text = (home_with_data / "runs" / result["flow_run_id"] / "table.md").read_text(encoding="utf-8")
    tables = {part.partition("**")[0]: part for part in text.split("\n\n**")[1:]}  # by caption
    assert "Parameter error, and both sides of Eq. 4 by Eq. 15, nats" in tables
    rows = {caption: part.count("| UniSAR ") for caption, part in tables.items()}
    assert rows["What an answer tells about its input (§6.4.1)"] == 2, "both tasks"
    for caption in ("Cosine of the task gradients along training (§6.5)", "How far the tasks lie apart (§6.4.2)",
                    "How training ended"):  # fmt: skip
        assert rows[caption] == 1, caption
    with get_client(sync_client=True) as client:
        wanted = ArtifactFilter(
            key=ArtifactFilterKey(any_=["mechanisms"]),
            flow_run_id=ArtifactFilterFlowRunId(any_=[UUID(result["flow_run_id"])]),
        )
        (artifact,) = client.read_artifacts(artifact_filter=wanted)
    assert text in str(artifact.data)
    assert "report.html" in str(artifact.data)
    page = Parsed((home_with_data / "runs" / result["flow_run_id"] / "report.html").read_text(encoding="utf-8"))
    assert {"run", "data", "training", "mechanisms", "failed"} <= set(page.ids)
    assert not {"results", "systems", "speed"} & set(page.ids)
    (picture,) = page.all("img")
    assert str(picture["src"]).startswith("data:image/png;base64,iVBORw0KGgo")
    for table in ("information", "gradients", "space", "theorem"):
        assert f"table-{table}" in page.ids
    for number in (numbers["space/unisar/silhouette"], numbers["theorem/correlated/300/true_label"]):
        assert f"{number:.3f}".replace("-", "−") in page.text

    mlflow = MlflowClient(tracking_uri())
    parent = mlflow.get_run(result["mlflow"]["run_id"])
    assert parent.data.tags["flow"] == "analyze/mechanisms"
    assert parent.data.metrics["space/gensr/overlap"] == pytest.approx(numbers["space/gensr/overlap"])
    content = json.loads((home_with_data / "runs" / result["flow_run_id"] / "summary.json").read_text(encoding="utf-8"))
    assert content == result
    assert {"summary.json", "table.md", "report.html"} <= _files(mlflow, parent.info.run_id)
    children = mlflow.search_runs([parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    by_name = {child.info.run_name: child.info.run_id for child in children}
    for stage, files in FIGURES.items():
        assert files <= _files(mlflow, by_name[stage]), stage

    fewer = analysis | {"parts": ["gradients", "space"]}
    again = mechanisms(tiny(analysis=fewer, rerank=rerank))
    assert all(stage["reused"] for stage in again["stages"])
    labels = {stage["label"] for stage in again["stages"]}
    assert {"analyze-gradients", "analyze-space"} == {label for label in labels if label.startswith("analyze")}

    # The pipeline with UniSAR, untuned here too, and the table of all systems, take what was trained here.
    whole = full_pipeline(tiny(analysis=fewer | {"enabled": True, "unisar": "always"}, rerank=rerank))
    reused = {stage["label"]: stage["reused"] for stage in whole["stages"]}
    assert reused["train-baseline-unisar"]
    assert not reused["evaluate-unisar"]
    for task in ("recommendation", "search"):
        assert whole["results"][task]["unisar"]["samples"] == whole["results"][task]["gensr"]["samples"]
    assert whole["analysis"]["gradient/unisar/probes"] == numbers["gradient/unisar/probes"]
    page = (home_with_data / "runs" / "latest" / "report.html").read_text(encoding="utf-8")
    for part in ("results-search", "training-table", "gradients", "speed"):
        start = page.index(f'id="table-{part}"')
        assert "UniSAR" in page[start : page.index("</table>", start)], part
    compared = rerank_table(tiny(analysis=fewer, rerank=rerank | {"tune": False}))  # it would tune
    assert [(s["label"], s["reused"]) for s in compared["stages"] if s["label"].endswith("seed0")] == [
        ("train-baseline-unisar-seed0", True),
        ("evaluate-unisar-seed0", True),
    ]


def _files(client: MlflowClient, run_id: str) -> set[str]:
    return {file.path for file in client.list_artifacts(run_id)}
