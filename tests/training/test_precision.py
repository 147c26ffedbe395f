"""Training in bf16 on a CPU: it runs, in bf16 where it says so, and what is kept stays fp32."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from small_dataset import SMALL_CONFIG, write_world
from torch.nn.modules.module import register_module_forward_hook

from gensr_model.baselines.registry import BASELINES
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.errors import ConfigError
from gensr_model.evaluation.evaluate import rank_bundle
from gensr_model.models import bundle
from gensr_model.runtime.files import read_tensors
from gensr_model.runtime.progress import NullReport
from gensr_model.training import baseline
from gensr_model.training.finetune import CandidateValidation, finetune, train_full_ranking, train_two_head
from gensr_model.training.gradient_probe import GradientCosine, task_gradient_cosine
from gensr_model.training.trainer import TrainingData, fit, make_accelerator

TRAIN = {"gensr": finetune, "two_head": train_two_head, "full_ranking": train_full_ranking}
CONFIG = SMALL_CONFIG | {
    "train": {"epochs": 1, "two_head_epochs": 1, "batch_size": 128, "valid_samples": 10},
    "full_ranking": {"epochs": 1, "valid_samples": 10},
    "rerank": {"epochs": 1},
    "analysis": {"gradient_every": 2},
}


@pytest.fixture(autouse=True)
def own_accelerator(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Accelerate knows one precision per process; the other tests of this one want theirs."""
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    AcceleratorState._reset_state(True)
    yield
    AcceleratorState._reset_state(True)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_world(tmp_path_factory.mktemp("precision"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", TRAIN)
@pytest.mark.parametrize("answer_loss", ["vocabulary", "listwise"])
def test_bf16_trains_every_model_and_keeps_fp32(root: Path, tmp_path: Path, kind: str, answer_loss: str) -> None:
    dataset = bundle.PreparedDataset.open(root / "prepared")
    config = PipelineConfig.model_validate(
        CONFIG
        | {"train": CONFIG["train"] | {"precision": "bf16"}}
        | {"model": CONFIG["model"] | {"answer_loss": answer_loss}}
    )
    metrics = TRAIN[kind](dataset, root / "cf", config, tmp_path / "steps", tmp_path, NullReport())
    assert metrics["steps"] >= 4
    weights = read_tensors(tmp_path / bundle.WEIGHTS)
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32, torch.bool}
    assert all(torch.isfinite(tensor).all() for tensor in weights.values())


def train_unisar(dataset: bundle.PreparedDataset, _: Path, config: PipelineConfig, *places: Any) -> dict[str, float]:
    return baseline.train(BASELINES["unisar"], {}, dataset, config, *places)


PROBED = {"gensr": finetune, "two_head": train_two_head, "unisar": train_unisar}


@pytest.mark.parametrize("kind", PROBED)
def test_gradients_are_probed_in_fp32_where_training_is_in_bf16(
    root: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = bundle.PreparedDataset.open(root / "prepared")
    config = PipelineConfig.model_validate(CONFIG | {"train": CONFIG["train"] | {"precision": "bf16"}})
    types: dict[bool, set[torch.dtype]] = {True: set(), False: set()}
    probing = False

    def probe(model: bundle.Model, *given: Any) -> GradientCosine | None:
        nonlocal probing
        probing = True
        actual = task_gradient_cosine(model, *given)
        probing = False
        return actual

    def watch(module: torch.nn.Module, _: object, out: object) -> None:
        if module.training and isinstance(module, torch.nn.Linear) and isinstance(out, torch.Tensor):
            types[probing].add(out.dtype)

    monkeypatch.setattr("gensr_model.training.fitting.task_gradient_cosine", probe)
    watched = register_module_forward_hook(watch)
    try:
        PROBED[kind](dataset, root / "cf", config, tmp_path / "steps", tmp_path, NullReport())
    finally:
        watched.remove()
    assert torch.bfloat16 in types[False], "training is in bf16"
    assert types[True] == {torch.float32}


@pytest.mark.parametrize(("precision", "seen"), [("auto", torch.float32), ("bf16", torch.bfloat16)])
def test_the_forward_pass_has_the_precision_and_validation_has_fp32(
    root: Path, tmp_path: Path, precision: str, seen: torch.dtype
) -> None:
    dataset = bundle.PreparedDataset.open(root / "prepared")
    config = PipelineConfig.model_validate(CONFIG)
    model, _ = bundle.assemble("gensr", dataset, root / "cf", config)
    assert isinstance(model, bundle.GenSR)
    assert model.cf_view is not None
    types: dict[bool, set[torch.dtype]] = {True: set(), False: set()}
    model.cf_view.project.register_forward_hook(lambda module, _, out: types[module.training].add(out.dtype))
    data = TrainingData(dataset, config.train, 5, seed=0)
    before = model.backbone.shared.weight.detach().clone()

    def validate() -> dict[str, float]:
        with torch.inference_mode():
            return {"metric": float(model.score(data.batch(0)[1]).mean())}

    result = fit(
        model, data, config.train, seed=0, epochs=1, folder=tmp_path, validate=validate, report=NullReport(),
        accelerator=make_accelerator(precision),  # type: ignore[arg-type]
    )  # fmt: skip
    assert types == {True: {seen}, False: {torch.float32}}
    assert np.isfinite(result.best_metric)
    assert not torch.equal(model.backbone.shared.weight, before)


def test_another_precision_in_one_process_is_one_sentence() -> None:
    torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(False)
    make_accelerator("bf16")
    assert torch.backends.cuda.fp16_bf16_reduction_math_sdp_allowed()
    with pytest.raises(ConfigError, match=r"train\.precision 'no' is not possible in this process"):
        make_accelerator("no")


@pytest.mark.parametrize("precision", ["no", "bf16"])
@pytest.mark.parametrize("kind", ["gensr", "two_head"])
def test_scores_have_the_precision_of_the_config_where_the_model_can(
    root: Path, tmp_path: Path, kind: str, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = bundle.PreparedDataset.open(root / "prepared")
    config = PipelineConfig.model_validate(CONFIG | {"evaluation": {"precision": precision}})
    model, tokenizer = bundle.assemble(kind, dataset, root / "cf", config)
    bundle.save(tmp_path, kind, model, tokenizer, dataset, config)
    half = precision == "bf16" and kind == "gensr"
    seen: set[torch.dtype] = set()
    linear = torch.nn.functional.linear

    def watched(*given: Any) -> torch.Tensor:
        actual = linear(*given)
        seen.add(actual.dtype)
        return actual

    monkeypatch.setattr(torch.nn.functional, "linear", watched)
    torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(False)
    rank_bundle(tmp_path, dataset, "test", config, NullReport())
    assert (torch.bfloat16 in seen) == half
    assert torch.backends.cuda.fp16_bf16_reduction_math_sdp_allowed() == half
    seen.clear()
    CandidateValidation(dataset, config)(model)
    assert (torch.bfloat16 in seen) == half


def test_under_bf16_the_states_between_blocks_are_bf16(root: Path) -> None:
    dataset = bundle.PreparedDataset.open(root / "prepared")
    config = PipelineConfig.model_validate(CONFIG)
    model, _ = bundle.assemble("gensr", dataset, root / "cf", config)
    assert isinstance(model, bundle.GenSR)
    seen: list[torch.dtype] = []
    model.backbone.encoder.block[0].register_forward_pre_hook(lambda _, given: seen.append(given[0].dtype))
    batch = TrainingData(dataset, config.train, 5, seed=0).batch(0)[1]
    model.score(batch)
    with torch.autocast("cpu", torch.bfloat16):
        model.score(batch)
    assert set(seen[: len(seen) // 2]) == {torch.float32}
    assert set(seen[len(seen) // 2 :]) == {torch.bfloat16}
