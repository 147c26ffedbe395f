"""A baseline of both tasks trained with gradient probes: the same training, and the probes beside the bundle."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from small_dataset import write_dataset

from gensr_model.baselines.registry import BASELINES
from gensr_model.config.pipeline import PipelineConfig, with_changes
from gensr_model.data.prepared import PreparedDataset
from gensr_model.runtime.progress import NullReport
from gensr_model.training import baseline, trainer

CONFIG = PipelineConfig.model_validate(
    {
        "model": {"max_history": 6},
        "train": {"valid_samples": 40},
        "rerank": {"epochs": 2, "batch_size": 64, "learning_rate": 3e-3},
        "analysis": {"gradient_every": 4},
    }
)
UNISAR = BASELINES["unisar"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    return write_dataset(tmp_path_factory.mktemp("probed") / "prepared")


def train(dataset: PreparedDataset, folder: Path, config: PipelineConfig = CONFIG) -> dict[str, float]:
    """With the checkpoints of a folder, its bundle in ``out`` there."""
    (folder / "out").mkdir(parents=True)
    return baseline.train(UNISAR, {}, dataset, config, folder / "checkpoints", folder / "out", NullReport())


def probes(folder: Path) -> list[dict[str, float]]:
    result: list[dict[str, float]] = json.loads((folder / "out" / "gradients.json").read_text(encoding="utf-8"))
    return result


def test_unisar_is_the_baseline_that_can_be_probed() -> None:
    assert [name for name, system in BASELINES.items() if baseline.can_be_probed(system.model)] == ["unisar"]


def test_probes_change_nothing_of_the_training(dataset: PreparedDataset, tmp_path: Path) -> None:
    probed = train(dataset, tmp_path / "probed")
    plain = train(dataset, tmp_path / "plain", with_changes(CONFIG, {"analysis": {"gradient_every": 0}}))
    assert probed | {"seconds": 0} == plain | {"seconds": 0}
    for name in (baseline.WEIGHTS, baseline.CONFIG, baseline.WORDS):
        files = [tmp_path / each / "out" / name for each in ("plain", "probed")]
        assert files[0].read_bytes() == files[1].read_bytes()
    assert [p["step"] for p in probes(tmp_path / "probed")] == list(range(0, int(probed["steps"]), 4))
    assert all(-1 <= p["cosine"] <= 1 and p["norm_search"] > 0 for p in probes(tmp_path / "probed"))
    assert probes(tmp_path / "plain") == []


@pytest.mark.usefixtures("two_threads")
def test_probes_outlive_a_killed_training(
    dataset: PreparedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(dataset, tmp_path / "whole")
    real = trainer.TrainingData.batch

    def dies(self: trainer.TrainingData, number: int) -> tuple:
        if number == whole["steps"] - 2:
            raise KeyboardInterrupt
        return real(self, number)

    monkeypatch.setattr(trainer.TrainingData, "batch", dies)
    with pytest.raises(KeyboardInterrupt):
        train(dataset, tmp_path / "killed")
    monkeypatch.undo()
    (tmp_path / "killed" / "out").rmdir()
    again = train(dataset, tmp_path / "killed")
    assert 0 < again["resumed_at"] < whole["steps"] - 2
    assert probes(tmp_path / "killed") == probes(tmp_path / "whole")
    assert len(probes(tmp_path / "whole")) > 2
