"""The flow ``train`` of full ranking from raw files to the published table, on a real Prefect server and MLflow."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pandas as pd
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient
from mlflow.pyfunc import load_model
from parsed import Parsed
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterKey

from flows.retrain import retrain
from flows.train_full_ranking import full_ranking
from gensr_model.config.base import TASKS
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.evaluation.reference import NEEDS_QUERY, REFERENCES
from tasks.core.state_dir import tracking_uri
from tasks.promote.record import DECISION, read_decision


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_server")
def test_raw_files_to_a_published_table_over_the_whole_catalogue(
    home_with_data: Path, tiny: Callable[..., PipelineConfig]
) -> None:
    config = tiny(full_ranking={"epochs": 2, "valid_samples": 40})
    summary = full_ranking(config)
    assert set(summary["results"]["search"]) == {"gensr", *REFERENCES}
    assert set(summary["results"]["recommendation"]) == {"gensr", *REFERENCES} - set(NEEDS_QUERY)
    for task in TASKS:
        assert summary["results"][task]["gensr"]["samples"] > 0
        assert 0 < summary["results"][task]["gensr"]["mrr"] < 1
        assert summary["comparisons"][task]["popularity"]["n"] == summary["results"][task]["gensr"]["samples"]

    table = (home_with_data / "runs" / summary["flow_run_id"] / "table.md").read_text(encoding="utf-8")
    ranks = pq.read_table(next((home_with_data / "store" / "evaluate-full").glob("*/ranks.parquet")))
    (record,) = (home_with_data / "store" / "prepare").glob("*/items.parquet")
    items = pq.read_metadata(record).num_rows
    assert f"1 positive among all {items} items, without those the user had met" in table
    assert items > pc.min(ranks["candidates"]).as_py() > config.prepare.negatives + 1
    with get_client(sync_client=True) as client:
        wanted = ArtifactFilter(
            key=ArtifactFilterKey(any_=["full-ranking"]),
            flow_run_id=ArtifactFilterFlowRunId(any_=[UUID(summary["flow_run_id"])]),
        )
        (artifact,) = client.read_artifacts(artifact_filter=wanted)
    assert table in str(artifact.data)
    assert "report.html" in str(artifact.data)
    page = Parsed((home_with_data / "runs" / summary["flow_run_id"] / "report.html").read_text(encoding="utf-8"))
    assert {"full", "training", "failed", "table-full-search", "table-full-segments-search"} <= set(page.ids)
    assert not {"results", "segments", "systems"} & set(page.ids)
    assert f"{summary['results']['search']['gensr']['mrr']:.4f}" in page.text

    mlflow = MlflowClient(tracking_uri())
    parent = mlflow.get_run(summary["mlflow"]["run_id"])
    assert parent.data.tags["flow"] == "train/full-ranking"
    assert parent.data.metrics["gensr/search/ndcg_at_10"] == pytest.approx(
        summary["results"]["search"]["gensr"]["ndcg_at_10"]
    )
    logged = {f.path for f in mlflow.list_artifacts(parent.info.run_id)}
    assert {"table.md", "summary.json", "report.html"} <= logged
    assert json.loads((home_with_data / "runs" / "latest" / "summary.json").read_text(encoding="utf-8")) == summary

    again = full_ranking(config)
    assert all(s["reused"] for s in again["stages"])
    assert again["results"] == summary["results"]
    name = "gensr-tiny-full-ranking"
    assert str(mlflow.get_model_version_by_alias(name, "champion").version) == "1"
    assert len(mlflow.search_model_versions(f"name = '{name}'")) == 1, "the same model is not registered again"

    retrain(config)
    served = load_model("models:/gensr-tiny@champion")
    answer = served.predict(pd.DataFrame({"query": [None, "word"], "top_n": [3.0, 3.0]}))
    assert answer["candidate_source"].tolist() == ["popular", "full-ranking"]  # nothing is known, and a search

    # Another full-ranking model that is not worse takes its place, in what serves too.
    other = full_ranking(tiny(full_ranking={"epochs": 3, "valid_samples": 40}, retrain={"delta": 1.0}))
    assert str(mlflow.get_model_version_by_alias(name, "champion").version) == "2"
    version = mlflow.get_model_version_by_alias("gensr-tiny", "champion")
    (key,) = [s["key"] for s in other["stages"] if s["label"] == "finetune-full"]
    assert (str(version.version), version.tags["catalogue_key"]) == ("2", key)
    record = read_decision(home_with_data / "runs" / other["flow_run_id"] / DECISION)
    assert (record.model, record.outcome, record.new_version) == (name, "promoted", "2")
    again = retrain(config)
    assert (again["outcome"], again["champion_version"]) == ("kept", "2")
    assert again["reason"].startswith("Nothing has changed")
