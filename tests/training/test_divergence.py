"""A loss or gradient that is not finite ends training, says where, and never reaches a checkpoint."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from small_dataset import SMALL_CONFIG, write_cf, write_dataset

from gensr_model.config.pipeline import PipelineConfig
from gensr_model.config.training import TrainConfig
from gensr_model.data.batches import Batch
from gensr_model.errors import TrainingError
from gensr_model.models import bundle
from gensr_model.models.base import LossParts
from gensr_model.models.gensr import GenSR
from gensr_model.runtime.progress import NullReport
from gensr_model.training import checkpoint
from gensr_model.training.trainer import FitResult, TrainingData, fit

CONFIG = PipelineConfig.model_validate(SMALL_CONFIG)


class TrainingSpec(NamedTuple):
    """A fresh model, another like it, and how to train the first for an epoch."""

    model: GenSR
    other: GenSR
    data: TrainingData
    checkpoints: Path
    fit: Callable[..., FitResult]


@pytest.fixture
def course(tmp_path: Path) -> Callable[..., TrainingSpec]:
    torch.set_num_threads(1)
    dataset, cf = write_dataset(tmp_path / "prepared"), write_cf(tmp_path / "cf")

    def make(**settings: int) -> TrainingSpec:
        config = TrainConfig(batch_size=16, checkpoint_every=1, **settings)
        data = TrainingData(dataset, config, 5, seed=0)
        model, other = (bundle.assemble("gensr", dataset, cf, CONFIG)[0] for _ in range(2))

        def run(probe: Callable[[int], None] | None = None) -> FitResult:
            return fit(
                model, data, config, seed=0, epochs=1, folder=tmp_path / "steps",
                validate=lambda: {"metric": 0.0}, report=NullReport(), probe=probe,
            )  # fmt: skip

        return TrainingSpec(model, other, data, tmp_path / "steps", run)

    return make


def its_samples(course: TrainingSpec, batch: int) -> str:
    """How a message names the samples of a micro-batch."""
    return f"its samples: {', '.join(course.data.batch(batch)[0].sample_id[:10])} …"


def test_a_loss_names_step_and_samples(course: Callable[..., TrainingSpec]) -> None:
    made = course()

    def spoil(step: int) -> None:
        if step == 4:
            with torch.no_grad():
                next(iter(made.model.parameters())).fill_(math.nan)

    with pytest.raises(TrainingError, match=r"the loss of step 4 is nan.*learning rate") as told:
        made.fit(spoil)
    assert its_samples(made, 4) in str(told.value)


def test_of_several_micro_batches_the_one_that_is_not_finite_names_its_samples(
    course: Callable[..., TrainingSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, calls = course(accumulation=3), []
    real = made.model.loss

    def loss(batch: Batch) -> LossParts:
        calls.append(batch)
        result = real(batch)
        return result._replace(total=result.total * math.nan) if len(calls) == 5 else result

    monkeypatch.setattr(made.model, "loss", loss)
    with pytest.raises(TrainingError, match="the loss of step 1 is nan") as told:
        made.fit()
    assert its_samples(made, 4) in str(told.value)


def test_a_gradient_stops_before_a_checkpoint_has_it(course: Callable[..., TrainingSpec]) -> None:
    """A finite loss with an infinite gradient: clipping turns every weight into NaN."""
    made, taken = course(accumulation=2), []
    made.model.backbone.shared.weight.register_hook(lambda grad: grad * (math.inf if 3 in taken else 1.0))
    with pytest.raises(TrainingError, match=r"the gradient of step 3 is (inf|nan)") as told:
        made.fit(taken.append)
    assert its_samples(made, 6) in str(told.value)
    trained = [p for p in made.other.parameters() if p.requires_grad]
    progress = checkpoint.restore(made.checkpoints, made.other, torch.optim.AdamW(trained))
    assert progress is not None
    assert progress.step == 3
    assert all(torch.isfinite(p).all() for p in made.other.parameters())
