"""What runs on the device of the machine, and compiled as the config says; a CPU stands in for a GPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from small_dataset import SMALL_CONFIG, write_cf, write_dataset

from gensr_model.baselines.registry import BASELINES
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.data.prepared import PreparedDataset
from gensr_model.evaluation import evaluate
from gensr_model.models import bundle
from gensr_model.runtime.progress import NullReport
from gensr_model.training import baseline, finetune, lightgcn, trainer

DEVICE = torch.device("cpu", 7)  # for torch the CPU; told apart from it here
CONFIG = PipelineConfig.model_validate(
    SMALL_CONFIG
    | {
        "lightgcn": {"epochs": 1},
        "train": {"epochs": 1, "batch_size": 128, "valid_samples": 10, "compile": "yes"},
        "rerank": {"epochs": 1},
        "analysis": {"gradient_every": 0},
    }
)


@pytest.fixture
def dataset(tmp_path: Path) -> PreparedDataset:
    return write_dataset(tmp_path / "prepared")


@pytest.fixture
def cf(tmp_path: Path) -> Path:
    return write_cf(tmp_path / "cf")


def moved_by(work: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the modules that ``work`` sends to the device."""
    moved, real = [], torch.nn.Module.to

    def to(self: torch.nn.Module, *given: Any) -> torch.nn.Module:
        if given == (DEVICE,):
            moved.append(type(self).__name__)
        return real(self, *given)

    monkeypatch.setattr(torch.nn.Module, "to", to)
    work()
    return moved


def test_a_bundle_is_ranked_on_the_device_and_compiled(
    dataset: PreparedDataset, cf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tokenizer = bundle.assemble("gensr", dataset, cf, CONFIG)
    bundle.save(tmp_path, "gensr", model, tokenizer, dataset, CONFIG)
    asked: list[str] = []
    monkeypatch.setattr(evaluate, "default_device", lambda: DEVICE)
    monkeypatch.setattr(evaluate, "compile_blocks", lambda _, wanted: asked.append(wanted))
    moved = moved_by(lambda: evaluate.rank_bundle(tmp_path, dataset, "test", CONFIG, NullReport()), monkeypatch)
    assert (moved, asked) == (["GenSR"], ["yes"])


def test_a_baseline_is_ranked_on_the_device(
    dataset: PreparedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system, out = BASELINES["sasrec"], tmp_path / "out"
    out.mkdir()
    baseline.train(system, {}, dataset, CONFIG, tmp_path / "steps", out, NullReport())
    monkeypatch.setattr(baseline, "default_device", lambda: DEVICE)
    moved = moved_by(lambda: baseline.rank(out, system, dataset, "test", CONFIG, NullReport()), monkeypatch)
    assert moved == ["SASRec"]


def test_lightgcn_is_trained_on_the_device(
    dataset: PreparedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lightgcn, "default_device", lambda: DEVICE)
    moved = moved_by(lambda: lightgcn.pretrain(dataset, CONFIG.lightgcn, 0, tmp_path, NullReport()), monkeypatch)
    assert moved == ["LightGCN"]


def test_training_compiles_as_the_config_says(
    dataset: PreparedDataset, cf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(trainer, "compile_blocks", lambda _, wanted: asked.append(wanted))
    finetune.finetune(dataset, cf, CONFIG, tmp_path / "steps", tmp_path, NullReport())
    assert asked == ["yes"]
