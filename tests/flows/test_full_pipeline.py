"""The flow ``gensr`` from raw files to the published table, on a real Prefect server and a real MLflow store."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import mlflow
import pandas as pd
import pytest
from mlflow import MlflowClient
from parsed import Parsed
from prefect import State
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterKey
from tiny_run import Finished

from flows.full_pipeline import full_pipeline
from gensr_model.config.base import TASKS
from gensr_model.config.data import GeneratedSource
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.data.synthetic import write_amazon
from gensr_model.errors import ConfigError, TrainingError
from gensr_model.evaluation.reference import REFERENCES
from tasks.core.state_dir import tracking_uri
from tasks.remote import export

Tiny = Callable[..., PipelineConfig]
pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.mark.slow
def test_a_run_on_one_task_is_about_that_task_alone_and_a_study_that_fails_holds_nothing_back(
    tiny: Tiny, home_with_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise TrainingError("the loss of step 3 is <nan>")

    monkeypatch.setattr("flows.pipeline_studies.search", broken)
    train = {"epochs": 1, "two_head_epochs": 1, "valid_samples": 40, "batch_size": 32, "tasks": "search"}
    state: State = full_pipeline(tiny(train=train, studies={"sweep": True}), return_state=True)
    assert state.is_failed()
    assert "the loss of step 3" in (state.message or "")
    summary = json.loads((home_with_data / "runs" / "latest" / "summary.json").read_text(encoding="utf-8"))
    assert summary["studies"] == {}
    assert summary["results"]["recommendation"] == {}
    assert set(summary["results"]["search"]) == {"gensr", "two_head", *REFERENCES}
    assert {row["task"] for row in summary["diagnosis"]} == {"search"}
    assert not [name for name in summary["analysis"] if name.startswith(("space/", "gradient/"))]
    page = (home_with_data / "runs" / summary["flow_run_id"] / "report.html").read_text(encoding="utf-8")
    assert 'id="table-results-search"' in page
    assert 'id="table-results-recommendation"' not in page
    assert "The study sweep failed: the loss of step 3 is &lt;nan&gt;" in page
    with pytest.raises(ConfigError, match="the ablation has variants for single tasks"):
        full_pipeline(tiny(train=train, studies={"ablation": True}))


def test_the_studies_are_part_of_the_run_and_take_what_it_has_trained(
    finished: Callable[[str], Finished], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    gensr_home, summary = finished("amazon")
    monkeypatch.setenv("GENSR_HOME", str(gensr_home))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    own = {s["label"]: s["key"] for s in summary["stages"]}
    studies = summary["studies"]
    assert set(studies) == {"rerank-table", "full-ranking", "ablation", "sweep"}
    of_study = {name: {s["label"]: s["key"] for s in study["stages"]} for name, study in studies.items()}
    for name, label in (("rerank-table", "finetune-gensr-seed0"), ("ablation", "finetune-gensr"),
                        ("sweep", "finetune-tau=0.05-beta=0.1")):  # fmt: skip
        assert of_study[name][label] == own["finetune-gensr"], name
    for name, keys in of_study.items():
        assert keys["prepare"] == own["prepare"], name
    trained = {folder.name for folder in (gensr_home / "store" / "finetune").glob("*") if folder.is_dir()}
    assert len(trained) == 5, "GenSR, two heads, one variant and two more points: none of them twice"
    config = PipelineConfig.model_validate(summary["config"])
    for kind in export.KINDS:  # as the keys are those that the flow asks for
        assert export.out(tmp_path / kind, config, kind).jobs == (), "nothing is left to carry to another machine"
    ours = summary["results"]["search"]["gensr"]["ndcg_at_10"]
    (row,) = (r for r in studies["rerank-table"]["results"]
              if (r["system"], r["task"], r["metric"]) == ("gensr", "search", "ndcg_at_10"))  # fmt: skip
    assert row["mean"] == pytest.approx(ours)
    assert studies["full-ranking"]["results"]["search"]["gensr"]["mrr"] > 0
    assert [r["variant"] for r in studies["ablation"]["ablation"]] == ["gensr", "no_soft_filter"] * 2

    folder = gensr_home / "runs" / summary["flow_run_id"]
    table = (folder / "table.md").read_text(encoding="utf-8")
    sections = ("All systems", "Full ranking (Table 4)", "Ablation (Figure 5)", "τ and β (Figure 6)", "Results")
    assert all(f"\n## {title}\n" in table for title in sections)
    assert {"ablation.parquet", "sweep.parquet", "report.html"} <= {file.name for file in folder.iterdir()}
    page = Parsed((folder / "report.html").read_text(encoding="utf-8"))
    assert {"systems", "full", "ablation", "sweep", "results", "mechanisms", "examples"} <= set(page.ids)
    assert "rerank-table: train-baseline-qem-seed0" in page.text
    client = MlflowClient(tracking_uri())
    names = "tags.`mlflow.parentRunId` = '{}'"
    experiment = summary["mlflow"]["experiment_id"]
    children = {c.info.run_name: c for c in client.search_runs([experiment], names.format(summary["mlflow"]["run_id"]))}
    nested = client.search_runs([experiment], names.format(children["rerank-table"].info.run_id))
    assert {"train-baseline-qem-seed0", "evaluate-bm25"} <= {run.info.run_name for run in nested}
    assert children["full-ranking"].data.metrics["gensr/search/mrr"] > 0
    assert not client.search_registered_models(), "a study registers no model"


@pytest.mark.parametrize("data_format", ["amazon", "kuaisar"])
def test_raw_files_to_a_published_comparison(
    finished: Callable[[str], Finished], monkeypatch: pytest.MonkeyPatch, data_format: str
) -> None:
    gensr_home, summary = finished(data_format)
    monkeypatch.setenv("GENSR_HOME", str(gensr_home))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    config = PipelineConfig.model_validate(summary["config"])

    models = {"gensr", "two_head", *REFERENCES}
    assert set(summary["results"]["search"]) == models
    assert {"gensr", "two_head", "popularity", "item_knn", "lightgcn"} <= set(summary["results"]["recommendation"])
    for task in TASKS:
        assert summary["results"][task]["gensr"]["samples"] > 0
        assert 0 < summary["results"][task]["gensr"]["recall_at_20"] <= 1
        compared = summary["comparisons"][task]["popularity"]
        assert compared["low"] <= compared["mean_difference"] <= compared["high"]
    assert summary["analysis"]
    assert not any(s["reused"] for s in summary["stages"])

    folder = gensr_home / "runs" / summary["flow_run_id"]
    assert json.loads((folder / "summary.json").read_text(encoding="utf-8")) == summary
    table = (gensr_home / "runs" / "latest" / "table.md").read_text(encoding="utf-8")
    assert table == (folder / "table.md").read_text(encoding="utf-8")
    assert all(name in table for name in ("GenSR", "Two heads", "BM25", "Item-kNN", "generated data"))
    with get_client(sync_client=True) as client:
        wanted = ArtifactFilter(
            key=ArtifactFilterKey(any_=["summary"]),
            flow_run_id=ArtifactFilterFlowRunId(any_=[UUID(summary["flow_run_id"])]),
        )
        (artifact,) = client.read_artifacts(artifact_filter=wanted)
        (profile,) = client.read_artifacts(
            artifact_filter=wanted.model_copy(update={"key": ArtifactFilterKey(any_=["profile"])})
        )
        bars = [f"progress-{stage}-{model}" for stage in ("finetune", "evaluate") for model in ("gensr", "two-head")]
        shown = client.read_artifacts(artifact_filter=wanted.model_copy(update={"key": ArtifactFilterKey(any_=bars)}))
    assert {bar.key: (bar.type, bar.data) for bar in shown} == dict.fromkeys(bars, ("progress", 100.0))
    assert table in str(artifact.data)
    assert f"Report: `{folder / 'report.html'}`" in str(artifact.data)
    report = (folder / "report.html").read_text(encoding="utf-8")
    assert report == (gensr_home / "runs" / "latest" / "report.html").read_text(encoding="utf-8")
    assert profile.type == "table"
    assert {"raw_items", "events", "samples_test"} <= {row["table"] for row in json.loads(str(profile.data))}
    _check_mlflow(summary)

    again = full_pipeline(config)
    assert all(s["reused"] for s in again["stages"])
    assert again["results"] == summary["results"]


def _check_mlflow(summary: dict) -> None:
    client = MlflowClient(tracking_uri())
    parent = client.get_run(summary["mlflow"]["run_id"])
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["dataset_digest"] == summary["dataset_digest"]
    assert parent.data.metrics["gensr/search/ndcg_at_10"] == pytest.approx(
        summary["results"]["search"]["gensr"]["ndcg_at_10"]
    )
    assert "report.html" in {f.path for f in client.list_artifacts(parent.info.run_id)}
    mlflow.set_tracking_uri(tracking_uri())  # load_table asks the global store, whatever its client's is
    segments = client.load_table(parent.info.experiment_id, "diagnosis.json", [parent.info.run_id])
    whole = segments[(segments["model"] == "gensr") & (segments["task"] == "search")].groupby("by")
    assert (whole["samples"].sum() == summary["results"]["search"]["gensr"]["samples"]).all()
    assert set(whole.groups) == {"history", "target", "query words", "items of the query", "query in training"}
    assert (segments["lead_low"] <= segments["lead_high"]).sum() == (segments["model"] == "gensr").sum() > 0
    table = client.load_table(parent.info.experiment_id, "profile.json", [parent.info.run_id])
    assert list(table.columns[:2]) == ["table", "column"]
    assert (table["nulls"][table["column"] == "user_idx"] == 0).all()
    children = client.search_runs([parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    by_name = {c.info.run_name: c for c in children}
    assert all(c.info.status == "FINISHED" for c in children)
    splits = {
        run.info.run_name: sorted(i.tags[0].value for i in run.inputs.dataset_inputs) for run in (parent, *children)
    }
    assert splits[parent.info.run_name] == ["test", "train", "valid"]
    assert splits["finetune-gensr"] == splits["pretrain"] == ["train", "valid"]
    assert splits["evaluate-gensr"] == splits["evaluate-bm25"] == ["test"]
    assert splits["ingest"] == splits["prepare"] == []
    expected = {
        "ingest": "manifest.json",
        "prepare": "manifest.json",
        "pretrain": "lightgcn.safetensors",
        "finetune-gensr": "training.json",
        "finetune-two_head": "training.json",
        "evaluate-bm25": "ranks.parquet",
        "evaluate-gensr": "ranks.parquet",
    }
    for name, artifact in expected.items():
        result = {f.path for f in client.list_artifacts(by_name[name].info.run_id)}
        assert artifact in result, name
    assert client.list_artifacts(by_name["validate"].info.run_id)
    for model in ("gensr", "two_head"):
        tuned = by_name[f"finetune-{model}"]
        training = summary["training"][model]
        assert tuned.data.tags["stopped"] == training["stopped"] == "all epochs done"
        steps = {
            name: [m.step for m in client.get_metric_history(tuned.info.run_id, name)]
            for name in ("train/loss", "valid/metric", "valid/search/ndcg_at_5", "valid/recommendation/mrr")
        }
        assert steps.pop("train/loss")
        parts = {"gensr": ("generation", "contrastive"), "two_head": ("recommendation", "search")}[model]
        for name in (*parts, "learning_rate", "gradient_norm", "samples_per_second", "rows_per_second"):
            assert client.get_metric_history(tuned.info.run_id, f"train/{name}"), name
        assert len(client.get_metric_history(tuned.info.run_id, "gradient/cosine")) > 1
        assert all(result == [training["steps"]] for result in steps.values()), "one validation in its one epoch"

    model = mlflow.pyfunc.load_model(by_name["model"].data.tags["model_uri"])
    example = model.input_example
    assert isinstance(example, pd.DataFrame)
    items = list(example["candidates"].iloc[0])
    request = pd.DataFrame({"history": [[], items[:1]], "query": [None, "word"], "candidates": [items, items]})
    answer = model.predict(request)
    assert [sorted(row) for row in answer["items"]] == [sorted(items)] * 2
    assert all(row == sorted(row, reverse=True) and 0 <= row[-1] <= row[0] <= 1 for row in answer["scores"])


@pytest.mark.slow
def test_bad_input_fails_the_run_with_its_message_and_the_next_good_run_succeeds(
    home_with_data: Path, tmp_path: Path, tiny: Tiny
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    write_amazon(folder, GeneratedSource(users=150, items=150, events_per_user=10))
    away = tmp_path / "away"
    meta = next(folder.glob("meta*"))
    shutil.move(meta, away)
    config = tiny(source={"kind": "folder", "path": str(folder)}, analysis={"enabled": False})

    state: State = full_pipeline(config, return_state=True)
    assert state.is_failed()
    assert "DataError" in (state.message or "")
    assert str(folder) in (state.message or "")
    assert "meta" in (state.message or "")
    store = home_with_data / "store"
    assert not [p for p in store.rglob("*") if ".tmp-" in p.name]
    assert not (home_with_data / "runs" / "latest").exists()

    shutil.move(away, meta)
    summary = full_pipeline(config)
    assert summary["results"]["search"]["gensr"]["samples"] > 0
    assert summary["analysis"] == {}
