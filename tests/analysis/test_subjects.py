"""Every trained model as a subject: its own batches, the scores that it ranks by, what its tasks share."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from small_dataset import USERS

from gensr_model.analysis.features import Pairs, balanced_pairs
from gensr_model.analysis.subjects import load, name_of, read
from gensr_model.baselines.registry import BASELINES
from gensr_model.errors import DataError
from gensr_model.evaluation.metrics import ranks_table
from gensr_model.runtime.progress import NullReport
from gensr_model.training import baseline

if TYPE_CHECKING:
    from trained_world import World


def test_unisar_scores_here_are_those_that_it_is_ranked_by(world: World) -> None:
    every, negatives = world.dataset.evaluated("test", "uniform")
    lists = np.column_stack([every.item, negatives])
    # Each candidate in turn as the chosen one of its sample: all scores of the frozen lists.
    columns = [
        read(world.subjects["unisar"], "score", Pairs(every, lists[:, [0, n]], np.full(len(every), min(n, 1))), 16)
        for n in range(lists.shape[1])
    ]
    result = ranks_table(every.sample_id, every.task_names, np.stack(columns, axis=1))
    ranked = baseline.rank(
        world.bundles["unisar"], BASELINES["unisar"], world.dataset, "test", world.config, NullReport()
    )
    in_order = [table.sort_by("sample_id").select(["sample_id", "greater"]) for table in (result, ranked)]
    assert in_order[0].equals(in_order[1])
    assert len(set(result["greater"].to_pylist())) > 1


def test_what_unisars_tasks_share_does_not_know_the_task_or_the_query(world: World) -> None:
    model, builder = world.subjects["unisar"]
    samples = world.dataset.samples("test")
    samples = samples.take(np.flatnonzero(samples.task == 1)[:8])
    batch = builder.build(samples, np.column_stack([samples.item, (samples.item + 1) % 40]))
    with torch.inference_mode():
        states = model.hidden(batch)  # type: ignore[operator]
        assert states.shape == (8, 2, 128)
        assert not torch.equal(states[:, 0], states[:, 1])  # it depends on the candidate
        other = batch.replace(task=1 - batch.task, query=torch.zeros_like(batch.query))
        assert torch.equal(model.hidden(other), states)  # type: ignore[operator]
        assert not torch.equal(model.score(other), model.score(batch))  # type: ignore[operator]
        emptied = batch.replace(history=batch.history.replace(mask=torch.zeros_like(batch.history.mask)))
        assert not torch.isclose(model.hidden(emptied), states).all(dim=-1).any()  # type: ignore[operator]


def test_hidden_states_of_all_models_are_in_the_order_of_the_samples(world: World) -> None:
    samples = world.dataset.samples("test")
    pairs = balanced_pairs(samples, np.zeros((len(samples), 1), np.int64))
    backwards = np.arange(len(samples))[::-1]
    turned = Pairs(samples.take(backwards), pairs.candidates[backwards], pairs.chosen[backwards])
    for name, subject in world.subjects.items():
        states = read(subject, "hidden", pairs, 16)
        assert len(states) == 2 * USERS
        np.testing.assert_allclose(read(subject, "hidden", turned, 16), states[::-1], atol=1e-5, err_msg=name)


def test_a_bundle_has_the_name_that_tables_have(world: World, tmp_path: Path) -> None:
    assert {name_of(folder): folder for folder in world.bundles.values()} == world.bundles
    mine = tmp_path / "mine"
    shutil.copytree(world.bundles["unisar"], mine)
    saved_config = json.loads((mine / baseline.CONFIG).read_text(encoding="utf-8"))
    (mine / baseline.CONFIG).write_text(json.dumps(saved_config | {"title": "Mine"}), encoding="utf-8")
    with pytest.raises(DataError, match="is a bundle of Mine, which"):
        load(mine, world.dataset)
