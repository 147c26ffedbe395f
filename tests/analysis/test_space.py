from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from scipy.stats import norm
from small_dataset import USERS
from torch import Tensor

from gensr_model.analysis.features import balanced_pairs
from gensr_model.analysis.space import (
    INPUTS,
    UNTRAINED,
    WITHOUT_QUERY,
    analyze_space,
    overlap,
    probe_accuracy,
    separation,
)
from gensr_model.analysis.subjects import Subject, read
from gensr_model.data.batches import Batch, BatchBuilder
from gensr_model.runtime.progress import NullReport

if TYPE_CHECKING:
    from trained_world import World


@pytest.mark.parametrize("distance", [0.0, 1.0, 2.0, 8.0])
def test_overlap_of_two_normals_is_the_known_one(distance: float) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 1_000, 2))
    b[:, 0] += distance
    # Kernels widen both densities a little, and two samples of one density differ a little.
    assert overlap(a, b) == pytest.approx(2 * norm.cdf(-distance / 2), abs=0.1)
    assert overlap(a, b) == pytest.approx(overlap(b, a), abs=0.01)


def test_overlap_of_points_on_a_line_and_of_one_point() -> None:
    line = np.stack([np.linspace(0, 1, 60), np.zeros(60)], axis=1)
    assert overlap(line, line) > 0.85
    assert overlap(line, line + np.array([5.0, 0.0])) < 0.05
    assert overlap(np.ones((9, 2)), np.ones((9, 2))) == 1


def test_separation_of_clouds_that_are_apart_and_of_one_cloud() -> None:
    rng = np.random.default_rng(0)
    task, user = np.arange(400) % 2, np.arange(400) // 2
    cloud = rng.standard_normal((400, 12)).astype(np.float32)
    one = separation(cloud, cloud[:, :2], task, user, 0)
    assert one.probe_accuracy == pytest.approx(0.5, abs=0.1)
    assert one.chance == 0.5
    assert abs(one.silhouette) < 0.01
    assert one.overlap > 0.8
    assert one.overlap == pytest.approx(one.overlap_chance, abs=0.1)
    apart = cloud + 6 * task[:, None].astype(np.float32)
    two = separation(apart, apart[:, :2], task, user, 0)
    assert two.probe_accuracy == 1
    assert two.silhouette > 0.5
    assert two.overlap < 0.05 < 0.8 < two.overlap_chance


def test_the_probe_is_not_asked_about_users_it_has_seen() -> None:
    # Every user has one task, and vectors that tell the user but nothing else of the task.
    rng = np.random.default_rng(0)
    user = np.repeat(np.arange(40), 10)
    task = (user % 2).astype(np.int64)
    cloud = rng.standard_normal((40, 60)).astype(np.float32)[user]
    assert probe_accuracy(cloud, task, user, 0) < 0.75  # an ordinary split gives 1


def test_numbers_and_files(world: World, tmp_path: Path) -> None:
    config = world.with_analysis(space_samples=60)

    def run() -> dict[str, float]:
        return analyze_space(world.dataset, world.cf, world.subjects, config, tmp_path, NullReport())

    numbers = run()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["space.json", "space.png"]
    result = json.loads((tmp_path / "space.json").read_text(encoding="utf-8"))
    assert set(result) == {INPUTS, WITHOUT_QUERY, UNTRAINED, "gensr", "two_head", "unisar"}
    for name, row in result.items():
        assert numbers[f"space/{name}/probe_accuracy"] == row["probe_accuracy"]
        assert row["chance"] == 0.5
        assert 0 <= row["overlap"] <= 1
        assert -1 <= row["silhouette"] <= 1
    # A query is all that tells these tasks apart; prompts hold it, what the shared encoders read does not.
    assert result[INPUTS]["probe_accuracy"] > 0.95
    assert result["gensr"]["probe_accuracy"] > 0.75
    assert result[WITHOUT_QUERY]["probe_accuracy"] < 0.65
    assert result["two_head"]["probe_accuracy"] < 0.65
    assert result["unisar"]["probe_accuracy"] < 0.65
    assert run() == numbers


def test_few_samples_are_left_out(world: World, tmp_path: Path) -> None:
    config = world.with_analysis(space_samples=20)
    assert analyze_space(world.dataset, world.cf, world.subjects, config, tmp_path, NullReport()) == {}
    assert [p.name for p in tmp_path.iterdir()] == ["space.json"]


class Counting(torch.nn.Module):
    """A model of somebody else's, with nothing but ``hidden``."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(1))

    def hidden(self, batch: Batch) -> Tensor:
        rows = torch.stack([batch.user.float(), batch.items[batch.candidates[:, 0]].float()], dim=1)
        return (rows * self.scale).unsqueeze(1)


def test_hidden_states_of_any_model_in_the_order_of_the_samples(world: World) -> None:
    samples = world.dataset.samples("test")
    pairs = balanced_pairs(samples, np.zeros((len(samples), 1), np.int64))
    result = read(Subject(Counting(), BatchBuilder(world.dataset, 4)), "hidden", pairs, 16)
    wanted = np.where(pairs.chosen == 0, samples.item, 0)
    np.testing.assert_array_equal(result, np.stack([samples.user, wanted], axis=1))
    assert len(result) == 2 * USERS
