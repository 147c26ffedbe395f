"""``train.tasks``: one task's samples alone are trained, validated and ranked."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from small_dataset import SMALL_CONFIG, USERS, write_cf, write_dataset

from gensr_model.config.base import TASKS
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.data.prepared import PreparedDataset
from gensr_model.evaluation import catalogue
from gensr_model.evaluation.evaluate import rank_bundle
from gensr_model.runtime.progress import NullReport
from gensr_model.training.finetune import finetune, train_full_ranking
from gensr_model.training.trainer import TrainingData

BATCH = 64


def config_of(task: str) -> PipelineConfig:
    return PipelineConfig.model_validate(
        SMALL_CONFIG
        | {
            "train": {"tasks": task, "epochs": 1, "batch_size": BATCH, "valid_samples": 20},
            "full_ranking": {"epochs": 1, "batch_size": BATCH, "valid_samples": 20},
            "analysis": {"gradient_every": 1},
        }
    )


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    place = tmp_path_factory.mktemp("one_task")
    write_cf(place / "cf")
    return write_dataset(place / "prepared")


@pytest.mark.parametrize("task", TASKS)
def test_batches_hold_that_task_and_negatives_know_both(dataset: PreparedDataset, task: str) -> None:
    config = config_of(task).train
    data = TrainingData(dataset, config, 5, seed=0, tasks=config.trained_tasks)
    samples = dataset.samples("train")
    expected = samples.sample_id[samples.task == TASKS.index(task)].tolist()
    drawn = [i for n in range(data.batches_per_epoch) for i in data.batch(n)[0].sample_id]
    assert sorted(drawn) == sorted(expected)
    np.testing.assert_array_equal(data.negatives.met, TrainingData(dataset, config, 5, seed=0).negatives.met)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(
    ("train", "rank", "metric"),
    [(finetune, rank_bundle, "ndcg_at_5"), (train_full_ranking, catalogue.rank_bundle, "ndcg_at_10")],
    ids=["candidates", "catalogue"],
)
def test_it_is_trained_validated_and_ranked_alone(
    dataset: PreparedDataset, tmp_path: Path, task: str, train: object, rank: object, metric: str
) -> None:
    config, cf = config_of(task), dataset.folder.parent / "cf"
    metrics = train(dataset, cf, config, tmp_path / "steps", tmp_path, NullReport())  # type: ignore[operator]
    samples = dataset.samples("train")
    assert metrics["steps"] == math.ceil((samples.task == TASKS.index(task)).sum() / BATCH)
    (result,) = json.loads((tmp_path / "training.json").read_text(encoding="utf-8"))["validations"]
    assert {name.split("/")[0] for name in result} == {task, "step", "metric"}
    assert result["metric"] == result[f"{task}/{metric}"]
    assert result[f"{task}/samples"] == 20
    assert json.loads((tmp_path / "gradients.json").read_text(encoding="utf-8")) == [], (
        "there are no two gradients to compare"
    )
    ranks = rank(tmp_path, dataset, "test", config, NullReport())  # type: ignore[operator]
    assert set(ranks["task"].to_pylist()) == {task}
    assert ranks.num_rows == USERS
