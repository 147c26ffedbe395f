from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from small_dataset import USERS

from gensr_model.analysis import information
from gensr_model.analysis.features import balanced_pairs, input_features
from gensr_model.analysis.information import analyze_information
from gensr_model.data.prepared import PreparedDataset
from gensr_model.models import bundle
from gensr_model.models.text_pooling import pool_text
from gensr_model.runtime.progress import NullReport

if TYPE_CHECKING:
    from trained_world import World


def test_numbers_and_files(world: World, tmp_path: Path) -> None:
    def run() -> dict[str, float]:
        return analyze_information(world.dataset, world.cf, world.subjects, world.config, tmp_path, NullReport())

    numbers = run()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mutual_information.json", "mutual_information.png"]
    assert all(math.isfinite(value) for value in numbers.values())
    for model in world.bundles:
        for task in ("recommendation", "search"):
            result = {
                name: numbers[f"information/{model}/{task}/{name}"]
                for name in ("exact_nats", "bound_nats", "label_nats", "samples")
            }
            assert 0 <= result["exact_nats"] <= result["bound_nats"] <= math.log(2)
            assert 0 <= result["label_nats"] <= math.log(2)
            assert result["samples"] == USERS
            gap = {
                end: numbers.get(f"information/{model}/{task}/exact_gap{end}")
                for end in ("", "_low", "_high", "_p", "_p_holm")
            }
            if model == "gensr":
                assert set(gap.values()) == {None}
                continue
            ours = numbers[f"information/gensr/{task}/exact_nats"]
            assert gap[""] == pytest.approx(ours - result["exact_nats"], abs=1e-9)
            assert gap["_low"] < gap[""] < gap["_high"]
            assert gap["_p"] <= gap["_p_holm"] <= 1
    gaps = [name.removesuffix("_p") for name in numbers if name.endswith("_gap_p")]
    assert 2 * 2 <= len(gaps) <= 2 * 2 * 2  # models, tasks, both gaps: of the label where a model knows of it
    smallest = min(gaps, key=lambda name: numbers[f"{name}_p"])
    assert numbers[f"{smallest}_p_holm"] == pytest.approx(min(1, len(gaps) * numbers[f"{smallest}_p"]))
    assert run() == numbers


def test_a_user_is_on_one_side_of_the_critics_split(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if three neighbouring users were one: one sample of each is taken, of either task."""
    samples, negatives = world.dataset.evaluated("test", "uniform")
    fewer = replace(samples, user=samples.user // 3)
    monkeypatch.setattr(PreparedDataset, "evaluated", lambda *_: (fewer, negatives))
    monkeypatch.setattr(information, "_FEWEST", 10)
    for pairs in information.task_pairs(world.dataset, world.config).values():
        assert len(set(pairs.samples.user)) == len(pairs.samples.user) == len(set(fewer.user))


def test_labels_at_another_balance(world: World) -> None:
    pairs = information.task_pairs(world.dataset, world.with_analysis(negatives_per_positive=3))
    assert [int((pair.chosen == 0).sum()) for pair in pairs.values()] == [math.ceil(USERS / 4)] * 2


def test_features_are_what_goes_in_before_any_training(world: World) -> None:
    dataset = world.dataset
    samples = dataset.samples("test")
    samples = samples.take(np.flatnonzero(samples.task == 1))
    pairs = balanced_pairs(samples, np.zeros((len(samples), 3), np.int64))
    assert pairs.chosen[:4].tolist() == [0, 1, 0, 1]
    fresh, _ = bundle.assemble("gensr", dataset, world.cf, world.config)
    assert isinstance(fresh, bundle.GenSR)
    result = input_features(dataset, pairs, fresh.cf, fresh.backbone.shared, fresh.text, 4)
    got = result.values
    row = 0  # its candidate is the positive
    history = dataset.events.item[samples.history_end[row] - 4 : samples.history_end[row]]
    table = fresh.cf.table.detach().numpy()
    np.testing.assert_allclose(got[row, :64], table[history].mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(got[row, 64:128], table[samples.item[row]], atol=1e-5)
    every = torch.arange(dataset.n_items)
    words = pool_text(fresh.backbone.shared, fresh.text.bags, every).detach().numpy()
    width = words.shape[1]
    np.testing.assert_allclose(got[row, 128 + width : 128 + 2 * width], words[samples.item[row]], atol=1e-5)
    np.testing.assert_allclose(got[1, 64:128], table[0], atol=1e-5)  # the next row holds its negative
    assert got.shape == (USERS, 128 + 3 * width + 3)
    assert result.blocks == (64, 64, width, width, width, 3)
    assert (np.abs(got[:, -3:]) <= 1 + 1e-5).all()


def test_a_task_with_few_samples_is_left_out(world: World, tmp_path: Path) -> None:
    few = world.with_analysis(mine_samples=30)
    assert analyze_information(world.dataset, world.cf, world.subjects, few, tmp_path, NullReport()) == {}
    result = json.loads((tmp_path / "mutual_information.json").read_text(encoding="utf-8"))
    assert result == {"gensr": {}, "two_head": {}, "unisar": {}}
    assert not (tmp_path / "mutual_information.png").exists()
