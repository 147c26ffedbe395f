"""The trainer's own arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
from small_dataset import write_dataset

from gensr_model.config.training import TrainConfig
from gensr_model.data.prepared import PreparedDataset
from gensr_model.training.trainer import TrainingData, learning_rate_factor


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    return write_dataset(tmp_path_factory.mktemp("trainer") / "prepared")


def data_of(dataset: PreparedDataset, **more: bool) -> TrainingData:
    return TrainingData(dataset, TrainConfig(batch_size=32, negatives=2), 5, seed=3, **more)


def test_an_epoch_trains_on_every_sample_once(dataset: PreparedDataset) -> None:
    for by_length in (True, False):
        data = data_of(dataset, by_length=by_length)
        orders = []
        for epoch in (0, 1):
            numbers = range(epoch * data.batches_per_epoch, (epoch + 1) * data.batches_per_epoch)
            ids = [sample for number in numbers for sample in data.batch(number)[0].sample_id]
            assert sorted(ids) == sorted(data.samples.sample_id)
            orders.append(ids)
        assert orders[0] != orders[1]


def test_batches_have_histories_of_like_lengths_where_they_may(dataset: PreparedDataset) -> None:
    def padding(by_length: bool) -> float:
        data = data_of(dataset, by_length=by_length)
        masks = [data.batch(number)[1].history_mask for number in range(data.batches_per_epoch)]
        return 1 - sum(mask.sum().item() for mask in masks) / sum(mask.numel() for mask in masks)

    assert padding(by_length=False) > 0.3
    assert padding(by_length=True) < 0.15


def test_a_batch_in_the_middle_of_an_epoch_needs_no_batch_before_it(dataset: PreparedDataset) -> None:
    gone_through, fresh = data_of(dataset), data_of(dataset)
    for number in range(gone_through.batches_per_epoch + 4):
        samples, batch = gone_through.batch(number)
    resumed, again = fresh.batch(number)
    assert resumed.sample_id.tolist() == samples.sample_id.tolist()
    assert all(one.equal(other) for one, other in zip(batch, again, strict=True))


def test_learning_rate_rises_then_falls_in_straight_lines() -> None:
    result = [learning_rate_factor(step, 100, 0.1) for step in range(101)]
    np.testing.assert_allclose(result[:10], np.arange(1, 11) / 10)
    np.testing.assert_allclose(result[10:], np.arange(90, -1, -1) / 90)
    assert learning_rate_factor(0, 1, 0.0) > 0
