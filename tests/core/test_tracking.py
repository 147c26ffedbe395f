"""The MLflow boundary, on a real SQLite store."""

from __future__ import annotations

import json
import time
from importlib import metadata
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from mlflow.exceptions import MlflowException

from gensr_model.config.base import digest
from gensr_model.config.pipeline import PipelineConfig
from tasks.core import tracking
from tasks.core.tracking import git_commit, parent_run


def test_a_parent_run_carries_what_is_needed_to_repeat_it(gensr_home: Path) -> None:
    config = PipelineConfig(name="toys", seed=7)
    with parent_run(config, "gensr", "11112222-aaaa") as run:
        run.metrics({"ndcg": 0.25, "broken": float("nan")}, step=2)
        with run.child("finetune-gensr") as child:
            child.metrics({"loss": 1.0})
    result = run.client.get_run(run.run_id)
    assert result.info.status == "FINISHED"
    assert result.data.metrics == {"ndcg": 0.25}
    tags = result.data.tags
    assert (tags["seed"], tags["dataset"], tags["prefect_flow_run_id"]) == ("7", "toys", "11112222-aaaa")
    assert tags["config_hash"] == digest(config)
    assert tags["mlflow.source.name"] == f"gensr (gensr {metadata.version('gensr')})"
    assert PipelineConfig.model_validate_json(tags["config"]) == config
    assert result.data.params["train.epochs"] == str(config.train.epochs)
    assert run.client.get_run(child.run_id).data.tags["mlflow.parentRunId"] == run.run_id
    local = run.client.download_artifacts(run.run_id, "config.json")
    assert json.loads(Path(local).read_text(encoding="utf-8"))["name"] == "toys"


def test_a_failing_block_fails_its_runs_and_says_why(gensr_home: Path) -> None:
    with (
        pytest.raises(ValueError, match="bad column"),
        parent_run(PipelineConfig(), "gensr", "x") as run,
        run.child("ingest") as child,
    ):
        raise ValueError("bad column")
    for each in (run, child):
        result = run.client.get_run(each.run_id)
        assert result.info.status == "FAILED"
        assert result.data.tags["error"] == "ValueError: bad column"


def test_step_metrics_are_sent_in_batches(gensr_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with parent_run(PipelineConfig(), "gensr", "x") as run:
        sent: list[int] = []
        real = run.client.log_batch
        monkeypatch.setattr(
            run.client,
            "log_batch",
            lambda run_id, metrics: (sent.append(len(metrics)), real(run_id, metrics=metrics))[1],
        )
        report = run.report("train")
        for step in range(300):
            report.metrics({"loss": 1.0 / (step + 1), "rate": 0.1}, step)
        report.close()
        history = run.client.get_metric_history(run.run_id, "loss")
    assert sum(sent) == 600
    assert len(sent) < 5
    assert sorted(m.step for m in history) == list(range(300))


def test_metrics_wait_while_mlflow_cannot_be_reached_and_the_oldest_go_beyond_a_bound(
    gensr_home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tracking, "_MAX_WAITING", 3)

    def refuse(run_id: str, metrics: list[object]) -> None:
        raise MlflowException("the server is away\nand more")

    with parent_run(PipelineConfig(), "gensr", "x") as run:
        report = run.report("train")
        with monkeypatch.context() as patch:
            patch.setattr(run.client, "log_batch", refuse)
            for step in range(5):
                report.metrics({"loss": float(step)}, step)
            report.close()
        assert "the server is away); 3 wait for another try, 2 are lost" in caplog.text
        assert "3 metrics of train are lost: MLflow did not take them" in caplog.text
        report.metrics({"loss": 5.0}, 5)
        report.close()
        history = run.client.get_metric_history(run.run_id, "loss")
    assert sorted(m.step for m in history) == [2, 3, 4, 5]


def test_while_mlflow_is_away_it_is_asked_seldom(gensr_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each try holds training up for as long as MLflow's client tries by itself: minutes."""
    now, asked = [0.0], []

    def refuse(run_id: str, metrics: list[object]) -> None:
        asked.append(now[0])
        now[0] += 240.0
        raise BrokenPipeError  # without a message

    with parent_run(PipelineConfig(), "gensr", "x") as run:
        report = run.report("train")
        monkeypatch.setattr("tasks.core.tracking.time.monotonic", lambda: now[0])
        report._flushed = 0.0
        with monkeypatch.context() as patch:
            patch.setattr(run.client, "log_batch", refuse)
            for step in range(1_000):
                now[0] += 2.0
                report.metrics({"loss": float(step)}, step)
        assert len(asked) == 4  # in 2,000 seconds of training
        now[0] += 600.0
        report.metrics({"loss": 0.0}, 1_000)
        assert len(run.client.get_metric_history(run.run_id, "loss")) == 1_001


def test_progress_outside_a_run_is_silent_and_inside_it_is_thinned(
    gensr_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[float] = []
    keys: list[str] = []

    def create(share: float, key: str, description: str) -> str:
        del description
        keys.append(key)
        shown.append(share)
        return "id"

    monkeypatch.setattr(tracking, "create_progress_artifact", create)
    monkeypatch.setattr(tracking, "update_progress_artifact", lambda _, share, **__: shown.append(share))
    with parent_run(PipelineConfig(), "gensr", "x") as run:
        report = run.report("train-baseline-my_baselines:Mine")
        report.progress(1, 2, "outside")
        assert shown == []
        report._in_run, report._logged = True, float("inf")
        for done in range(1, 1001):
            report.progress(done, 1000, "steps")
    assert shown[0] == pytest.approx(0.1)
    assert shown[-1] == 100.0
    assert len(shown) < 5
    assert keys == ["progress-train-baseline-my-baselines-mine"]  # Prefect takes lower-case letters, digits and dashes


def test_the_load_of_the_machine_is_logged_while_a_block_runs(
    gensr_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "_SYSTEM_EVERY", 0.1)
    with parent_run(PipelineConfig(), "gensr", "x") as run:
        with run.system_metrics():
            time.sleep(0.5)
        result = run.client.get_run(run.run_id).data.metrics
        steps = len(run.client.get_metric_history(run.run_id, "system/cpu_utilization_percentage"))
        time.sleep(0.3)
        assert len(run.client.get_metric_history(run.run_id, "system/cpu_utilization_percentage")) == steps
    assert result["system/system_memory_usage_megabytes"] > 0
    assert steps > 1


def test_the_commit_is_that_of_the_checkout_or_none() -> None:
    commit = git_commit()
    assert commit is None or len(commit.removesuffix("-dirty")) == 40


@pytest.mark.parametrize(
    ("commit", "tags"), [(None, {}), ("a" * 40, {"dirty": "False"}), ("a" * 40 + "-dirty", {"dirty": "True"})]
)
def test_the_source_has_the_commit_or_the_version_alone(
    monkeypatch: pytest.MonkeyPatch, commit: str | None, tags: dict[str, str]
) -> None:
    monkeypatch.setattr(tracking, "git_commit", lambda: commit)
    tracking.code_tags.cache_clear()
    result = tracking.source_tags("retrain/nightly")
    tracking.code_tags.cache_clear()
    expected = tags and tags | {"commit": "a" * 40}
    assert {k.split(".")[-1]: v for k, v in result.items() if k.startswith("mlflow.source.git.")} == expected
    assert result["mlflow.source.name"] == f"retrain/nightly (gensr {metadata.version('gensr')})"
    assert result.get("git_commit") == commit


def test_the_splits_of_the_prepared_dataset_are_inputs_of_a_run_that_reads_them(home_with_data: Path) -> None:
    (record,) = (home_with_data / "store" / "prepare").glob("*/stage.json")
    with parent_run(PipelineConfig(), "gensr", "x") as run, run.child("evaluate-gensr") as child:
        run.reads("tiny", record.parent)
        child.reads("tiny", record.parent, ("test",))
    read = {each.tags[0].value: each.dataset for each in run.client.get_run(run.run_id).inputs.dataset_inputs}
    assert set(read) == {"train", "valid", "test"}
    assert {dataset.name for dataset in read.values()} == {"tiny"}
    assert len({dataset.digest for dataset in read.values()}) == 3
    for split, dataset in read.items():
        samples = pq.read_table(record.with_name(f"samples_{split}.parquet"))
        assert json.loads(dataset.profile)["num_rows"] == samples.num_rows
        columns = json.loads(dataset.schema)["mlflow_colspec"]
        assert [column["name"] for column in columns] == samples.column_names
        assert json.loads(dataset.source)["uri"] == record.parent.as_uri()
    (only,) = run.client.get_run(child.run_id).inputs.dataset_inputs
    assert (only.tags[0].value, only.dataset.digest) == ("test", read["test"].digest)


def test_what_a_killed_flow_left_running_is_ended_however_deep_it_is_nested(gensr_home: Path) -> None:
    with parent_run(PipelineConfig(), "ablation/paper", "gone") as run, run.child("done"):
        client = run.client

    def start(name: str, **tags: str) -> str:
        made = client.create_run(run.experiment_id, run_name=name, tags=tags)
        return str(made.info.run_id)

    parent = start("parent", prefect_flow_run_id="gone")
    trial = start("trial", **{"mlflow.parentRunId": parent})
    stage = start("stage", **{"mlflow.parentRunId": trial})
    other = start("other", prefect_flow_run_id="at work")
    inside = start("inside", **{"mlflow.parentRunId": other})
    assert tracking.end_runs(lambda flow_run: flow_run == "gone") == 1
    status = {name: client.get_run(name).info.status for name in (parent, trial, stage, other, inside)}
    assert status == dict.fromkeys((parent, trial, stage), "KILLED") | dict.fromkeys((other, inside), "RUNNING")
    assert client.get_run(run.run_id).info.status == "FINISHED", "what had ended stays as it ended"
