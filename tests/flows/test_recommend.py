"""``recommend/batch``: the champion's answers for all users, a rerun that does nothing, and what is said of errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from answer_batches import Made, all_users, folder_rows, registered
from mlflow import MlflowClient

from flows.recommend_batch import recommend_batch
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.errors import DataError

ANSWERED = "70 users (70 full-ranking; 0 by unknown users) answered by version 1 of gensr-toy"
pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture
def champion(gensr_home: Path, tmp_path: Path) -> MlflowClient:
    """Version 1 of gensr-toy, which serves with a full-ranking model."""
    return registered(gensr_home, tmp_path)


def config(**settings: Any) -> PipelineConfig:
    return PipelineConfig.model_validate({"name": "toy", "recommend": {"top_n": 4, "shard_size": 40} | settings})


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What runs said to people."""
    return [record.getMessage() for record in caplog.records if record.name == "prefect.flow_runs.gensr"]


def test_the_champion_answers_all_users_once(
    gensr_home: Path, champion: MlflowClient, caplog: pytest.LogCaptureFixture
) -> None:
    first = recommend_batch(config())
    root = gensr_home / "recommendations"
    assert (first["version"], first["recommendations"]["sources"]) == ("1", {"full-ranking": 70})
    folders = [gensr_home / "champions" / f"gensr-toy-{key}" for key in ("k1", "f1")]
    made = Made(*folders, version="1", top_n=4, shard_size=40)
    rows = folder_rows(root, made.batch)
    made.check(rows, all_users(folders[0]))
    files = {path: path.stat().st_mtime_ns for path in (root / made.batch.name).iterdir()}
    assert len(files) == 3

    assert recommend_batch(config()) == first
    assert {path: path.stat().st_mtime_ns for path in (root / made.batch.name).iterdir()} == files
    runs = champion.search_runs([e.experiment_id for e in champion.search_experiments()], order_by=["start_time"])
    oldest = runs[0]
    assert oldest.data.metrics["answers"] == 70
    assert oldest.data.metrics["answers_per_second"] > 0
    assert (oldest.data.tags["model"], oldest.data.tags["version"]) == ("gensr-toy", "1")
    assert said(caplog) == [
        "recommend: started",
        f"recommend: {ANSWERED}, in {root}",
        f"recommend: nothing to do, this batch is finished in {root}: {ANSWERED}",
    ]

    caplog.clear()
    (root / made.batch.name / "manifest.json").unlink()
    (root / made.batch.name / "recommendations-00001.parquet").unlink()
    assert recommend_batch(config()) == first
    assert json.loads((root / "latest.json").read_text(encoding="utf-8")) == first
    assert sorted(map(str, folder_rows(root, made.batch))) == sorted(map(str, rows))
    assert said(caplog)[0] == "recommend: 1 of 2 shards are written, 1 are left"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"version": "7"}, r"recommend\.version: MLflow has no version 7 of the model gensr-toy\. Check name"),
        ({"users": "/no/users.csv"}, r"recommend\.users: /no/users\.csv is no file"),
        ({"output": "/dev/null/below"}, r"recommend\.output: /dev/null/below cannot be written: Not a directory"),
    ],
)
@pytest.mark.usefixtures("champion")
def test_what_is_wrong_is_said_before_any_answer(gensr_home: Path, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        recommend_batch(config(**settings))
    assert not (gensr_home / "recommendations").exists()


@pytest.mark.usefixtures("gensr_home")
def test_a_model_without_a_champion_is_named() -> None:
    with pytest.raises(DataError, match=r"MLflow has no champion of the model gensr-toy.* retrain/nightly"):
        recommend_batch(config())
