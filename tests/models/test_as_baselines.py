"""Fitting and padding, as tests/baselines/test_every_model.py asks of every baseline, for GenSR and two heads."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from small_dataset import ITEMS, SMALL_CONFIG, SMALL_MODEL, write_world
from torch import Tensor

from gensr_model.config.pipeline import PipelineConfig
from gensr_model.data.batches import Batch, BatchBuilder
from gensr_model.models import bundle
from gensr_model.models.gensr import GenSR
from gensr_model.models.two_head import TwoHead

# What ``best`` reads beside.
BEST = {"departures": {"interaction": True, "query_interaction": True, "filter_identity": True}}
MODEL = SMALL_MODEL | {"max_history": 8, "view_dropout": 0.0, "answer_loss": "yes_no"} | BEST
HISTORY = 5  # of the batch, shorter than the model's


class Ours(NamedTuple):
    model: GenSR | TwoHead
    batch: Batch  # 32 training samples with a history, of both tasks; each list begins with the positive


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_world(tmp_path_factory.mktemp("ours"))


@pytest.fixture(params=["gensr", "two_head"])
def ours(root: Path, request: pytest.FixtureRequest) -> Ours:
    torch.manual_seed(0)
    dataset = bundle.PreparedDataset.open(root / "prepared")
    config = PipelineConfig.model_validate(SMALL_CONFIG | {"model": MODEL})
    model, _ = bundle.assemble(request.param, dataset, root / "cf", config)
    rng, samples = np.random.default_rng(0), dataset.samples("train")
    samples = samples.take(samples.history_end > samples.history_start)
    samples = samples.take(rng.permutation(len(samples))[:32])
    others = (samples.item[:, None] + rng.integers(1, ITEMS, size=(32, 4))) % ITEMS
    result = BatchBuilder(dataset, HISTORY).build(samples, np.column_stack([samples.item, others]))
    assert set(result.task.tolist()) == {0, 1}
    assert not result.history_mask.all()
    return Ours(model, result)


@torch.inference_mode()
def scores(ours: Ours, batch: Batch) -> Tensor:
    return ours.model.eval().score(batch)


def fit(ours: Ours, steps: int) -> None:
    optimizer = torch.optim.Adam([p for p in ours.model.parameters() if p.requires_grad], 1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        ours.model.train().loss(ours.batch).total.backward()
        optimizer.step()


def test_it_overfits_32_samples(ours: Ours) -> None:
    best = 0.0
    for _ in range(20):
        fit(ours, 20)
        ranked = scores(ours, ours.batch)
        best = (ranked[:, :1] > ranked[:, 1:]).all(dim=1).float().mean().item()
        if best >= 0.95:
            break
    assert best >= 0.95, f"the positive is first in {best:.0%} of the lists it was trained on"


def test_what_stands_at_padding_and_how_much_of_it_change_nothing(ours: Ours) -> None:
    fit(ours, 4)
    batch, there = ours.batch, ours.batch.history_mask
    noise = torch.randint(len(batch.items), there.shape), torch.randint(2, there.shape)
    noisy = batch._replace(
        history=torch.where(there, batch.history, noise[0]), behavior=torch.where(there, batch.behavior, noise[1])
    )
    assert not torch.equal(noisy.history, batch.history)
    longer = batch._replace(
        **{
            name: torch.cat([(old := getattr(batch, name)).new_zeros(len(old), 3), old], dim=1)
            for name in ("history", "behavior", "history_mask")
        }
    )
    before = scores(ours, batch)
    for changed in (noisy, longer):
        torch.testing.assert_close(scores(ours, changed), before, atol=1e-5, rtol=1e-5)
    turned = batch._replace(history=torch.where(there, noise[0], batch.history))
    assert (scores(ours, turned) - before).abs().max() > 1e-4  # what is there is read
