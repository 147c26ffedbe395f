"""A baseline from the prepared dataset to its ranks, by the trainer and the evaluator of GenSR."""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from small_dataset import write_dataset
from torch import Tensor

from gensr_model.baselines.base import Baseline, BaselineSpec
from gensr_model.baselines.inputs import BaselineBatch, Domain
from gensr_model.baselines.registry import BASELINES
from gensr_model.config.base import Task
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.config.studies import RerankConfig
from gensr_model.data.prepared import PreparedDataset
from gensr_model.errors import DataError, DivergedError, TrainingError
from gensr_model.evaluation.metrics import summarize
from gensr_model.models.base import LossParts
from gensr_model.runtime.progress import NullReport
from gensr_model.training import baseline, trainer, tuning

CONFIG = PipelineConfig.model_validate(
    {
        "model": {"max_history": 6},
        "train": {"valid_samples": 40},
        "rerank": {"epochs": 3, "trials": 3, "trial_epochs": 3, "batch_size": 16, "learning_rate": 1e-2},
    }
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    return write_dataset(tmp_path_factory.mktemp("training") / "prepared")


class Constant(Baseline):
    """Its loss is not finite under a large step; it scores everything alike."""

    reads: ClassVar[frozenset[str]] = frozenset()
    tasks: ClassVar[tuple[Task, ...]] = ("search",)

    def __init__(self, domain: Domain, scale: float = 1.0) -> None:
        super().__init__()
        del domain
        self.scale, self.weight = scale, torch.nn.Parameter(torch.ones(()))

    def score(self, batch: BaselineBatch) -> Tensor:
        return self.weight * torch.zeros_like(batch.candidates, dtype=torch.float32)

    def loss(self, batch: BaselineBatch) -> LossParts:
        return LossParts(self.weight * self.scale + self.score(batch).sum(), {})


def train(dataset: PreparedDataset, name: str, folder: Path, point: tuning.Point | None = None) -> dict[str, float]:
    folder.mkdir()
    return baseline.train(BASELINES[name], point or {}, dataset, CONFIG, folder / "checkpoints", folder, NullReport())


def test_training_ranks_the_models_own_tasks_and_a_saved_model_scores_as_the_trained_one(
    dataset: PreparedDataset, tmp_path: Path
) -> None:
    metrics = train(dataset, "zam", tmp_path / "zam", {"learning_rate": 3e-2, "heads": 2})
    assert metrics["epochs"] == 3
    assert metrics["steps"] == 3 * int(np.ceil((dataset.samples("train").task == 1).sum() / 16))
    ranks = baseline.rank(tmp_path / "zam", BASELINES["zam"], dataset, "test", CONFIG, NullReport())
    assert set(ranks["task"].to_pylist()) == {"search"}
    assert ranks.num_rows == (dataset.samples("test").task == 1).sum()
    # The query says which quarter of the items: far better than chance among ten.
    assert summarize(ranks)["search"]["mrr"] > 0.5
    curve = json.loads((tmp_path / "zam" / "training.json").read_text(encoding="utf-8"))
    best = max(v["metric"] for v in curve["validations"])
    assert best == metrics["best_valid_ndcg_at_5"] == curve["best_metric"]
    assert set(curve["validations"][0]) >= {"search/ndcg_at_5", "metric"}
    assert not [v for v in curve["validations"][0] if v.startswith("recommendation")]
    suffixes = {path.suffix for path in (tmp_path / "zam").rglob("*") if path.is_file()}
    assert suffixes == {".json", ".safetensors", ".parquet"}  # nothing that is loaded by pickle


@pytest.mark.parametrize(("name", "grouped"), [("sasrec", True), ("fmlp_rec", False)])
def test_a_model_of_one_history_length_gets_random_batches(
    dataset: PreparedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, grouped: bool
) -> None:
    seen: list[bool] = []

    class Recorded(trainer.TrainingData):
        def epoch_order(self, epoch: int) -> np.ndarray:
            order = super().epoch_order(epoch)
            lengths = self.builder.lengths(self.samples.take(order[:16]))
            seen.append(bool(np.ptp(lengths) <= 1))
            return order

    monkeypatch.setattr(baseline, "TrainingData", Recorded)
    train(dataset, name, tmp_path / name)
    assert seen == [grouped] * 3


@pytest.mark.usefixtures("two_threads")
def test_a_killed_training_goes_on_as_if_nothing_had_happened(
    dataset: PreparedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(dataset, "sasrec", tmp_path / "whole")
    real = trainer.TrainingData.batch

    def dies(self: trainer.TrainingData, number: int) -> tuple:
        if number == 30:
            raise KeyboardInterrupt
        return real(self, number)

    monkeypatch.setattr(trainer.TrainingData, "batch", dies)
    with pytest.raises(KeyboardInterrupt):
        train(dataset, "sasrec", tmp_path / "killed")
    monkeypatch.undo()
    (tmp_path / "killed").rename(tmp_path / "before")
    (tmp_path / "killed").mkdir()
    again = baseline.train(
        BASELINES["sasrec"], {}, dataset, CONFIG, tmp_path / "before" / "checkpoints", tmp_path / "killed", NullReport()
    )
    assert again["resumed_at"] > 0
    assert again["best_valid_ndcg_at_5"] == whole["best_valid_ndcg_at_5"]
    files = [tmp_path / run / baseline.WEIGHTS for run in ("whole", "killed")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_bundle_of_other_data_or_of_another_system_is_refused(dataset: PreparedDataset, tmp_path: Path) -> None:
    train(dataset, "hem", tmp_path / "hem")
    with pytest.raises(DataError, match="a bundle of HEM, not of SASRec"):
        baseline.load(tmp_path / "hem", BASELINES["sasrec"], dataset)
    with pytest.raises(DataError, match="no model bundle"):
        baseline.load(tmp_path, BASELINES["hem"], dataset)
    other = PreparedDataset.open(dataset.folder)
    other.__dict__["items"] = dataset.items.slice(1)
    with pytest.raises(DataError, match="trained on other items or users"):
        baseline.load(tmp_path / "hem", BASELINES["hem"], other)


def test_the_point_that_is_best_on_valid_is_chosen_and_the_same_are_tried_for_all(
    dataset: PreparedDataset, tmp_path: Path
) -> None:
    # A step of 1e-9 leaves a model where it started.
    grid = {"learning_rate": (1e-9, 3e-2)}
    system = BASELINES["qem"]._replace(grid=grid)
    result = baseline.tune(system, dataset, CONFIG, tmp_path / "checkpoints", tmp_path, NullReport())
    assert baseline.chosen(tmp_path) == {"learning_rate": 3e-2}
    told = json.loads((tmp_path / "tuning.json").read_text(encoding="utf-8"))
    assert [t["point"] for t in told["trials"]] == [{"learning_rate": 1e-9}, {"learning_rate": 3e-2}]
    assert result["best_valid_ndcg_at_5"] == told["trials"][1]["metric"] > told["trials"][0]["metric"]

    # A finished trial is not trained again: its folder is not even looked at.
    for trial in (tmp_path / "checkpoints").glob("trial-*"):
        (trial / "last" / "progress.json").write_text("spoiled", encoding="utf-8")
    again = baseline.tune(system, dataset, CONFIG, tmp_path / "checkpoints", tmp_path, NullReport())
    assert again == result


def test_a_trial_that_diverges_loses_and_tuning_goes_on(dataset: PreparedDataset, tmp_path: Path) -> None:
    system = BaselineSpec(Constant, "Constant", "search", {"scale": (float("nan"), 1.0)})
    baseline.tune(system, dataset, CONFIG, tmp_path / "checkpoints", tmp_path, NullReport())
    assert baseline.chosen(tmp_path) == {"scale": 1.0}
    told = json.loads((tmp_path / "tuning.json").read_text(encoding="utf-8"))["trials"]
    assert told[0]["metric"] is None
    assert "the loss of step 0 is nan" in told[0]["error"]
    never = system._replace(grid={"scale": (float("nan"),)})
    with pytest.raises(TrainingError, match=r"all 1 trials failed\. The first error: the loss of step 0 is nan"):
        baseline.tune(never, dataset, CONFIG, tmp_path / "other", tmp_path, NullReport())


def test_only_divergence_is_the_points_fault() -> None:
    """A full disk says nothing of a learning rate: the search ends and says what it was."""

    def full(number: int, point: tuning.Point) -> float:
        raise TrainingError("the checkpoint cannot be written: no space left")

    with pytest.raises(TrainingError, match="no space left") as told:
        tuning.choose({"learning_rate": (1e-3, 1e-2)}, 2, full)
    assert not isinstance(told.value, DivergedError)


def test_every_grid_has_as_many_points_as_are_tried_and_begins_with_the_defaults() -> None:
    trials = RerankConfig().trials
    for name, system in BASELINES.items():
        tried = tuning.points(system.grid, trials)
        assert len(tried) == trials, name
        assert tried[0] == {key: values[0] for key, values in system.grid.items()}
        assert len({json.dumps(point, sort_keys=True) for point in tried}) == trials
