"""The numbers behind frozen candidates: SplitMix64 as published, and lists that keep what they hold."""

from __future__ import annotations

import numpy as np

from gensr_model.data.draws import Negatives, mix, numbers, streams


def test_numbers_are_splitmix64_of_the_start() -> None:
    """The first numbers of the published generator for the state 1234567, all at once and from the middle."""
    start = np.array([1234567], np.uint64)
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    assert numbers(start, 0, 4)[0].tolist() == published
    assert numbers(start, 2, 4)[0].tolist() == published[2:]


def test_streams_differ_by_seed_salt_and_sample() -> None:
    ids = ["0000000000000000", "0000000000000001", "ffffffffffffffff"]
    every = np.concatenate([streams(seed, salt, ids) for seed in (0, 1, -1) for salt in (0, 1, 2)])
    assert len(np.unique(every)) == 27
    assert np.array_equal(streams(7, 2, ids), streams(7 + 2**64, 2, ids))


def test_mix_leaves_its_argument_alone() -> None:
    values = np.arange(5, dtype=np.uint64)
    mix(values)
    assert values.tolist() == [0, 1, 2, 3, 4]


def test_what_a_list_has_stays_in_front() -> None:
    """Users 0 and 1 met items 0 to 9; lists that are empty, begun and full are completed with unmet, distinct items."""
    items, met = 40, np.array([*range(10), *range(40, 50)])
    lists = np.full((3, 20), -1)
    lists[1, :3] = [30, 12, 25]
    lists[2] = np.arange(39, 19, -1)
    start = streams(0, 0, [f"{n:016x}" for n in range(3)])
    for weights in (None, np.arange(1, 41)):
        result = Negatives(items, met, weights, 20).fill(start, np.array([0, 1, 1]), lists)
        assert result[1, :3].tolist() == [30, 12, 25]
        assert result[2].tolist() == lists[2].tolist()
        assert all(len(set(row)) == 20 and min(row) >= 10 for row in result.tolist())


def test_a_user_without_anything_met_gets_a_list() -> None:
    result = Negatives(5, np.array([], np.int64), None, 5).fill(
        streams(0, 0, ["00ff00ff00ff00ff"]), np.array([0]), np.full((1, 5), -1)
    )
    assert sorted(result[0].tolist()) == [0, 1, 2, 3, 4]
