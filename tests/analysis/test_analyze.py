import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from small_dataset import USERS, write_dataset

from gensr_model.analysis.analyze import analyze, conflict_summary
from gensr_model.analysis.features import balanced_pairs, input_features
from gensr_model.config import PipelineConfig
from gensr_model.models.views import pool_text
from gensr_model.report import NullReport
from gensr_model.training import bundle, lightgcn
from gensr_model.training.finetune import finetune, train_two_head


class World:
    """A dataset with a CF table and both trained models, made once."""

    def __init__(self, root: Path, config: PipelineConfig) -> None:
        torch.set_num_threads(1)
        self.config, self.dataset, self.cf = config, write_dataset(root / "prepared"), root / "cf"
        self.bundles = {"gensr": root / "gensr", "two_head": root / "two_head"}
        for folder in (self.cf, *self.bundles.values()):
            folder.mkdir()
        lightgcn.pretrain(self.dataset, config.lightgcn, config.seed, self.cf, NullReport())
        for name, train in (("gensr", finetune), ("two_head", train_two_head)):
            train(self.dataset, self.cf, config, root / f"{name}-steps", self.bundles[name], NullReport())


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, tiny: Callable[..., PipelineConfig]) -> World:
    small = {"mine_samples": 200, "mine_steps": 60, "mine_seeds": 2, "gradient_every": 3}
    return World(tmp_path_factory.mktemp("analyze"), tiny(analysis=small))


def test_numbers_and_files(world: World, tmp_path: Path) -> None:
    numbers = analyze(world.dataset, world.cf, world.bundles, world.config, tmp_path, NullReport())
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "gradient_conflict.json",
        "gradient_cosine.png",
        "mutual_information.json",
        "validation.png",
    ]
    assert all(math.isfinite(value) for value in numbers.values())
    for model in world.bundles:
        for task in ("recommendation", "search"):
            found = {
                name: numbers[f"information/{model}/{task}/{name}"] for name in ("exact_nats", "bound_nats")
            }
            assert 0 <= found["exact_nats"] <= found["bound_nats"] <= math.log(2)
            assert numbers[f"information/{model}/{task}/samples"] == USERS
        assert -1 <= numbers[f"gradient/{model}/mean_cosine"] <= 1
        assert numbers[f"gradient/{model}/probes"] > 1
    again = analyze(world.dataset, world.cf, world.bundles, world.config, tmp_path, NullReport())
    assert again == numbers


def test_features_are_what_goes_in_before_any_training(world: World) -> None:
    dataset = world.dataset
    samples = dataset.samples("test")
    samples = samples.take(np.flatnonzero(samples.task == 1))
    pairs = balanced_pairs(samples, np.zeros((len(samples), 3), np.int64))
    assert pairs.chosen[:4].tolist() == [0, 1, 0, 1]
    fresh, _ = bundle.assemble("gensr", dataset, world.cf, world.config)
    assert isinstance(fresh, bundle.GenSR)
    found = input_features(dataset, pairs, fresh.cf, fresh.backbone.shared, fresh.catalogue, 4)
    got = found.values
    row = 0  # its candidate is the positive
    history = dataset.events.item[samples.history_end[row] - 4 : samples.history_end[row]]
    table = fresh.cf.table.detach().numpy()
    np.testing.assert_allclose(got[row, :64], table[history].mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(got[row, 64:128], table[samples.item[row]], atol=1e-5)
    every = torch.arange(dataset.n_items)
    words = pool_text(fresh.backbone.shared, fresh.catalogue.text, every).detach().numpy()
    width = words.shape[1]
    np.testing.assert_allclose(got[row, 128 + width : 128 + 2 * width], words[samples.item[row]], atol=1e-5)
    np.testing.assert_allclose(got[1, 64:128], table[0], atol=1e-5)  # the next row holds its negative
    assert got.shape == (USERS, 128 + 3 * width + 3)
    assert found.blocks == (64, 64, width, width, width, 3)
    assert (np.abs(got[:, -3:]) <= 1 + 1e-5).all()


def test_a_task_with_few_samples_is_left_out(world: World, tmp_path: Path) -> None:
    few = world.config.model_copy(
        update={"analysis": world.config.analysis.model_copy(update={"mine_samples": 30})}
    )
    numbers = analyze(world.dataset, world.cf, world.bundles, few, tmp_path, NullReport())
    assert not [name for name in numbers if name.startswith("information/")]
    assert [name for name in numbers if name.startswith("gradient/")]


def test_conflict_summary() -> None:
    found = conflict_summary([{"cosine": c} for c in (0.5, -0.5, 1.0, 0.0)])
    assert found["mean_cosine"] == pytest.approx(0.25)
    assert found["min_cosine"] == -0.5
    assert found["share_negative"] == 0.25
    assert found["probes"] == 4
