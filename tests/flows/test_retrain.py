"""Retraining from raw files to the published decision: who becomes champion, and when nobody new does."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from mlflow import MlflowClient
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterKey
from shop_logs import shop

from flows.retrain import retrain
from gensr_model.config.base import TASKS
from gensr_model.config.pipeline import PipelineConfig
from tasks.core.state_dir import tracking_uri
from tasks.core.tracking import Tracked
from tasks.promote import model_registry
from tasks.promote.record import DECISION, LATEST, main, read_decision

Tiny = Callable[..., PipelineConfig]
pytestmark = pytest.mark.usefixtures("prefect_server")


def check_published(home: Path, record: dict[str, Any], status: str) -> None:
    """The same record is in the run's folder, which ``runs/latest-retrain`` names, in MLflow and in Prefect."""
    link = home / "runs" / LATEST
    assert link.is_symlink()
    assert link.resolve().name == record["flow_run_id"]
    assert json.loads((link / DECISION).read_text(encoding="utf-8")) == record
    run = MlflowClient(tracking_uri()).get_run(record["mlflow_run_id"])
    assert run.info.status == status
    assert (run.data.tags["outcome"], run.data.tags["decision"]) == (record["outcome"], record["reason"])
    assert DECISION in {file.path for file in MlflowClient(tracking_uri()).list_artifacts(run.info.run_id)}
    assert record["reason"] in artifact(record["flow_run_id"])


def artifact(flow_run_id: str) -> str:
    """What Prefect shows of the decision of a flow run."""
    wanted = ArtifactFilter(
        key=ArtifactFilterKey(any_=["champion"]),
        flow_run_id=ArtifactFilterFlowRunId(any_=[UUID(flow_run_id)]),
    )
    with get_client(sync_client=True) as client:
        (only,) = client.read_artifacts(artifact_filter=wanted)
    return str(only.data)


def test_where_mlflow_cannot_be_reached_the_record_is_written_and_prefect_shows_it(
    gensr_home: Path, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    assert retrain(tiny(), return_state=True).is_failed()
    record = read_decision(gensr_home / "runs" / LATEST / DECISION)
    assert (record.outcome, record.mlflow_run_id) == ("failed", None)
    assert "127.0.0.1" in record.reason
    assert record.reason in artifact(record.flow_run_id)


@pytest.mark.slow
def test_first_run_promotes_itself_then_the_same_data_and_a_worse_model_keep_the_champion(
    home_with_data: Path, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "gensr-tiny"

    def promoted() -> str:
        return str(MlflowClient(tracking_uri()).get_model_version_by_alias(name, "champion").version)

    first = retrain(tiny(train={"epochs": 2, "valid_samples": 40, "batch_size": 32}))
    assert (first["outcome"], first["new_version"], first["champion_version"]) == ("promoted", "1", None)
    assert "first model" in first["reason"]
    assert promoted() == "1"

    same = retrain(tiny(train={"epochs": 2, "valid_samples": 40, "batch_size": 32}))
    assert (same["outcome"], same["new_version"]) == ("kept", None)
    assert "Nothing has changed" in same["reason"]
    assert len(MlflowClient(tracking_uri()).search_model_versions(f"name = '{name}'")) == 1

    with monkeypatch.context() as patch:
        patch.setattr("tasks.promote.rule.serving_code", lambda: "of tomorrow")
        patch.setattr("tasks.promote.model_registry.serving_code", lambda: "of tomorrow")
        renewed = retrain(tiny(train={"epochs": 2, "valid_samples": 40, "batch_size": 32}))
    assert renewed["outcome"] == "promoted"
    assert renewed["reason"].startswith("Champion version 1, renewed")
    assert promoted() == "2"
    MlflowClient(tracking_uri()).set_registered_model_alias(name, "champion", "1")

    grown = {"kind": "generated", "users": 220, "items": 200, "events_per_user": 10}
    untrained = {"epochs": 1, "learning_rate": 1e-9, "valid_samples": 40, "batch_size": 32}
    worse = retrain(tiny(source=grown, train=untrained, retrain={"delta": 0.0}))
    assert worse["outcome"] == "kept"
    assert worse["reason"].startswith("Champion version 1 stays")
    assert set(worse["failed_tasks"]) <= {"recommendation", "search"} != set()
    assert worse["unknown_item_share"] > 0
    assert worse["drift"]["psi/events_per_user"] > 0
    check_published(home_with_data, worse, "FINISHED")
    assert promoted() == "1"
    assert len(MlflowClient(tracking_uri()).search_model_versions(f"name = '{name}'")) == 3

    strict = {"max_psi": 0.0, "on_drift": "stop"}
    stopped = retrain(tiny(source=grown, seed=9, retrain=strict), return_state=True)
    assert stopped.is_failed()
    assert "retrain.on_drift is stop" in str(stopped.message)
    record = read_decision(home_with_data / "runs" / LATEST / DECISION)
    assert (record.outcome, record.champion_version, record.new_version) == ("failed", "1", None)
    assert "retrain.on_drift is stop" in record.reason
    check_published(home_with_data, record.model_dump(mode="json"), "FAILED")
    assert len(list((home_with_data / "store" / "finetune").glob("*.lock"))) == 2, "nothing was trained any more"


@pytest.mark.slow
def test_an_alias_that_moves_meanwhile_fails_the_run_and_is_recorded(
    home_with_data: Path, tiny: Tiny, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A person moves the alias while the run registers its version: nothing is tagged or published as promoted."""
    config = tiny(name="moved", train={"epochs": 1, "valid_samples": 40, "batch_size": 32})
    assert retrain(config)["outcome"] == "promoted"
    move = model_registry.promote

    def moved_meanwhile(run: Tracked, name: str, *given: str | None) -> None:
        run.client.set_registered_model_alias(name, model_registry.CHAMPION, "2")
        move(run, name, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(model_registry, "promote", moved_meanwhile)
    state = retrain(config.model_copy(update={"seed": 1, "retrain": _generous(config)}), return_state=True)
    assert state.is_failed()
    assert "ChampionMoved" in str(state.message)
    client = MlflowClient(tracking_uri())
    tags = client.get_model_version("gensr-moved", "2").tags
    assert (tags["outcome"], "Run again" in tags["decision"]) == ("failed", True)
    record = read_decision(home_with_data / "runs" / LATEST / DECISION)
    assert (record.outcome, record.new_version, record.champion_version) == ("failed", "2", "1")
    assert set(record.differences) == {"recommendation", "search"}
    check_published(home_with_data, record.model_dump(mode="json"), "FAILED")

    assert main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("gensr-moved: failed, ")
    assert lines[1].startswith("reason: ChampionMoved: the champion of gensr-moved is now version 2")
    assert lines[2] == "versions: new 2, champion before 1"
    assert lines[3].startswith("recommendation, NDCG@10, new − champion (version 1): ")


@pytest.mark.slow
@pytest.mark.usefixtures("gensr_home")
@pytest.mark.parametrize(("searches", "task"), [(0.0, "recommendation"), (1.0, "search")])
def test_logs_of_one_task_retrain_night_after_night(searches: float, task: str, tiny: Tiny, tmp_path: Path) -> None:
    name, source = f"only-{task}", str(shop(tmp_path / "shop", searches))
    config = tiny(name=name, format="logs", source=source, retrain={"delta": 1.0})
    first, second = retrain(config), retrain(config.model_copy(update={"seed": 1}))
    assert [night["outcome"] for night in (first, second)] == ["promoted", "promoted"]
    assert first["tasks"] == second["tasks"] == [task]
    assert set(second["differences"]) == {task}
    version = MlflowClient(tracking_uri()).get_model_version_by_alias(f"gensr-{name}", "champion")
    assert (str(version.version), version.tags["tasks"]) == ("2", task)

    grown = config.model_validate(config.model_dump() | {"source": str(shop(tmp_path / "grown", 0.5))})
    both = retrain(grown)
    assert (both["outcome"], set(both["differences"]), both["tasks"]) == ("promoted", {task}, list(TASKS))
    state = retrain(config.model_copy(update={"seed": 2}), return_state=True)
    assert state.is_failed()
    assert "which champion version 3 serves: it stays" in str(state.message), "and nothing was trained"


def _generous(config: PipelineConfig) -> Any:
    return config.retrain.model_copy(update={"delta": 1.0})
