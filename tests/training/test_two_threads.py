"""Trainings so wide that two threads share a batch's gradients: they repeat, and they resume, to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from small_dataset import write_cf, write_dataset
from training_process import CONFIG

from gensr_model.config.pipeline import PipelineConfig, with_changes
from gensr_model.runtime.files import read_tensors
from gensr_model.runtime.progress import NullReport
from gensr_model.training import trainer
from gensr_model.training.finetune import TRAIN

pytestmark = pytest.mark.usefixtures("two_threads")
EPOCHS = {"train": {"epochs": 2, "two_head_epochs": 3}}


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path, PipelineConfig]:
    root = tmp_path_factory.mktemp("wide")
    config = with_changes(PipelineConfig.model_validate(CONFIG), EPOCHS)
    return write_dataset(root / "prepared"), write_cf(root / "cf"), config


def weights(wide: tuple[Any, Path, PipelineConfig], kind: str, folder: Path) -> dict[str, torch.Tensor]:
    """Of a training that goes on from the checkpoints in ``folder``."""
    bundle = folder / "bundle"
    bundle.mkdir(parents=True, exist_ok=True)
    TRAIN[kind](*wide, folder / "steps", bundle, NullReport())
    return read_tensors(bundle / "model.safetensors")


@pytest.mark.parametrize("kind", ["gensr", "two_head"])
def test_a_training_that_is_killed_and_resumed_repeats_another_one(
    wide: tuple[Any, Path, PipelineConfig], kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = weights(wide, kind, tmp_path / "whole")
    real = trainer.TrainingData.batch

    def dies(self: trainer.TrainingData, number: int) -> Any:
        if number == 9:
            raise KeyboardInterrupt
        return real(self, number)

    monkeypatch.setattr(trainer.TrainingData, "batch", dies)
    with pytest.raises(KeyboardInterrupt):
        weights(wide, kind, tmp_path / "killed")
    monkeypatch.undo()
    resumed = weights(wide, kind, tmp_path / "killed")
    assert [name for name in whole if not torch.equal(whole[name], resumed[name])] == []
