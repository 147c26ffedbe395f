"""Batches and training negatives against plain loops."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch
from small_dataset import ITEMS, write_dataset

from gensr_model.data.batches import POOL, BatchBuilder, NegativeSampler, order_by_length
from gensr_model.data.prepared import PreparedDataset
from gensr_model.errors import DataError


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    return write_dataset(tmp_path_factory.mktemp("batches") / "prepared")


@pytest.mark.parametrize("max_history", [1, 4, 50])
def test_a_batch_is_what_a_loop_over_samples_gives(dataset: PreparedDataset, max_history: int) -> None:
    rng = np.random.default_rng(max_history)
    for split in ("train", "valid", "test"):
        samples, times = dataset.samples(split), dataset.table(f"samples_{split}")["ts"].to_numpy()
        rows = rng.integers(len(samples), size=23)
        samples, before = samples.take(rows), times[rows]
        candidates = rng.integers(ITEMS, size=(23, 3))
        batch = BatchBuilder(dataset, max_history).build(samples, candidates)
        assert len(batch.items.unique()) == len(batch.items)
        assert torch.equal(batch.items[batch.candidates], torch.from_numpy(candidates))
        for row in range(23):
            events = [
                (int(item), int(behavior))
                for user, item, behavior, _, ts in zip(
                    *dataset.events, dataset.table("events")["ts"].to_numpy(), strict=True
                )
                if user == samples.user[row] and ts < before[row]
            ][-max_history:]
            mask = batch.history_mask[row]
            assert int(mask.sum()) == len(events)
            assert mask.tolist() == sorted(mask.tolist())  # padded on the left
            history = batch.items[batch.history[row][mask]].tolist()
            assert list(zip(history, batch.behavior[row][mask].tolist(), strict=True)) == events
        assert batch.query.tolist() == samples.query.tolist()
        assert batch.task.tolist() == samples.task.tolist()


def order_of(lengths: np.ndarray, size: int, *seed: int) -> np.ndarray:
    return order_by_length(lengths, size, np.random.default_rng(seed))


@pytest.mark.parametrize("count", [5, 64, 1_000, 20_011])
def test_an_epoch_has_each_row_once_and_follows_from_the_seed(count: int) -> None:
    lengths = np.random.default_rng(1).geometric(0.2, count)
    order = order_of(lengths, 64, 0)
    assert np.array_equal(np.sort(order), np.arange(count))
    assert np.array_equal(order, order_of(lengths, 64, 0))
    if count > 64:
        assert not np.array_equal(order, order_of(lengths, 64, 1))


def test_batches_hold_like_lengths_and_pools_of_random_rows() -> None:
    size, count = 64, 64 * POOL * 5 + 7
    lengths = np.minimum(np.random.default_rng(1).geometric(0.15, count), 30)
    order = order_of(lengths, size, 0)
    batches = lengths[order[: count - 7]].reshape(-1, size)
    assert batches.max(axis=1).sum() * size < 1.15 * lengths.sum()  # random rows: 4.2 places for each event
    # No length has its place in the epoch, and no row its batch.
    widest = batches.max(axis=1)
    assert abs(np.corrcoef(np.arange(len(widest)), widest)[0, 1]) < 0.2
    other = order_of(lengths, size, 1)[: count - 7].reshape(-1, size)
    batch_of = np.zeros(count, int)
    batch_of[order[: count - 7]] = np.arange(count - 7) // size
    assert np.mean([len(np.unique(batch_of[rows])) for rows in other]) > size / 4
    # Halves of a batch are for two processes: neither has the longer histories.
    halves = batches.reshape(-1, 2, size // 2).mean(axis=2)
    assert abs((halves[:, 0] - halves[:, 1]).mean()) < 0.05


def test_lengths_are_those_of_the_batch(dataset: PreparedDataset) -> None:
    samples, builder = dataset.samples("test"), BatchBuilder(dataset, 4)
    batch = builder.build(samples, samples.item[:, None])
    assert builder.lengths(samples).tolist() == batch.history_mask.sum(dim=1).tolist()


def test_training_negatives_were_not_met_in_training_and_held_out_targets_may_be(dataset: PreparedDataset) -> None:
    train, test = dataset.samples("train"), dataset.samples("test")
    sampler = NegativeSampler(dataset, train)
    users = np.arange(dataset.n_users)
    drawn = sampler.draw(users, 800, np.random.default_rng(0))
    met = {user: set(train.item[train.user == user].tolist()) for user in range(dataset.n_users)}
    target = {int(u): int(i) for u, i in zip(test.user, test.item, strict=True)}
    for user, row in zip(users.tolist(), drawn, strict=True):
        assert not met[user] & set(row.tolist())
        assert target[user] in row
    counts = np.bincount(drawn.ravel(), minlength=ITEMS)
    assert counts.min() > 0.7 * counts.mean()  # uniform over what is left


def test_negatives_follow_from_the_generator(dataset: PreparedDataset) -> None:
    sampler = NegativeSampler(dataset, dataset.samples("train"))
    users = np.arange(10)
    a, b, c = (sampler.draw(users, 4, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


def test_a_folder_that_is_not_complete_or_of_another_version(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no manifest\.json"):
        PreparedDataset.open(tmp_path)
    (tmp_path / "manifest.json").write_text('{"schema_version": 0}', encoding="utf-8")
    with pytest.raises(DataError, match="schema_version is 0, but this code reads 1"):
        PreparedDataset.open(tmp_path)


def test_candidates_follow_their_samples_by_id_not_by_place(dataset: PreparedDataset, tmp_path: Path) -> None:

    expected = dataset.evaluated("test")[1]
    shutil.copytree(dataset.folder, tmp_path / "copy")
    path = tmp_path / "copy" / "candidates_test.parquet"
    table = pq.read_table(path)
    pq.write_table(table.take(np.random.default_rng(0).permutation(table.num_rows)), path)
    shuffled = PreparedDataset.open(tmp_path / "copy")
    assert np.array_equal(shuffled.evaluated("test")[1], expected)
    pq.write_table(table.slice(1), path)
    with pytest.raises(DataError, match="1 samples of test have no 'uniform' candidates"):
        shuffled.evaluated("test")[1]


def test_a_task_without_candidates_of_the_protocol_is_left_out(dataset: PreparedDataset, tmp_path: Path) -> None:
    shutil.copytree(dataset.folder, tmp_path / "copy")
    path = tmp_path / "copy" / "candidates_test.parquet"
    table = pq.read_table(path)
    search = pc.equal(dataset.table("samples_test")["task"], "search")
    hard = table.set_column(1, "protocol", pa.array(["bm25"] * len(table))).filter(search)
    pq.write_table(pa.concat_tables([table, hard]), path)
    both = PreparedDataset.open(tmp_path / "copy")
    every, negatives = both.evaluated("test")
    assert len(every) == len(dataset.samples("test"))
    assert np.array_equal(negatives, dataset.evaluated("test")[1])

    samples, negatives = both.evaluated("test", "bm25")
    rows = np.flatnonzero(every.task == 1)
    assert np.array_equal(samples.sample_id, every.sample_id[rows])
    assert np.array_equal(negatives, dataset.evaluated("test")[1][rows])

    pq.write_table(pa.concat_tables([table, hard.slice(1)]), path)
    with pytest.raises(DataError, match="1 samples of test have no 'bm25' candidates"):
        both.evaluated("test", "bm25")
    with pytest.raises(DataError, match=f"{len(every)} samples of test have no 'popularity' candidates"):
        both.evaluated("test", "popularity")
