"""Test users are resampled, not their samples: checked against other ways to the same numbers, and by coverage."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from gensr_model.errors import DataError
from gensr_model.evaluation.ablation import relative_change
from gensr_model.evaluation.compare import Comparison, against_best, paired_bootstrap
from gensr_model.evaluation.metrics import per_sample, ranks_table
from gensr_model.evaluation.resampling import drawn_counts, number_users, resampled_means, standard_error


def ranks(places: np.ndarray) -> pa.Table:
    """A ranks table whose positives stand at `places` (1-based) among 100."""
    scores = np.where(np.arange(99) < (places - 1)[:, None], 2.0, 0.0)
    ids, ones = [f"s{n:05d}" for n in range(len(places))], np.ones((len(places), 1))
    return ranks_table(ids, ["search"] * len(places), np.concatenate([ones, scores], axis=1))


def users(user: np.ndarray, shuffle: int | None = None) -> pa.Table:
    """The users table of samples s00000 … in any order, and of a sample that nobody ranked."""
    table = pa.table({"sample_id": [f"s{n:05d}" for n in range(len(user))] + ["other"], "user_idx": [*user, 7]})
    return table if shuffle is None else table.take(np.random.default_rng(shuffle).permutation(len(table)))


def test_users_are_numbered_as_their_samples_come() -> None:
    ids = np.array(["s00000", "s00001", "s00002", "s00003"])
    assert number_users(ids, users(np.array([9, 4, 9, 2]), shuffle=1)).tolist() == [0, 1, 0, 2]
    assert number_users(ids[[3, 0]], users(np.array([9, 4, 9, 2]))).tolist() == [0, 1]
    assert number_users(ids, None).tolist() == [0, 1, 2, 3]


def test_a_sample_whose_user_is_not_known_is_an_error() -> None:
    with pytest.raises(DataError, match=r"1 ranked samples \(for example s00002\)"):
        number_users(np.array(["s00001", "s00002"]), users(np.array([0, 1])))


def test_a_resample_has_all_samples_of_the_users_that_were_drawn() -> None:
    """Two users, of one and of three samples: three means can come, each with its chance."""
    values, user = np.array([[1.0, 0.0, 0.5, 0.1], [2.0, 0.0, 0.0, 0.0]]), np.array([0, 1, 1, 1])
    result = resampled_means(values, user, 4_000, np.random.default_rng(0))
    whole, one, other = (0.4, 0.5), (1.0, 2.0), (0.2, 0.0)
    kinds = [np.isclose(result.T, kind).all(axis=1) for kind in (whole, one, other)]
    assert np.sum(kinds, axis=0).tolist() == [1] * 4_000
    assert [float(kind.mean()) for kind in kinds] == pytest.approx([0.5, 0.25, 0.25], abs=0.03)


def test_counts_of_draws_are_the_same_resamples() -> None:
    values, user = np.random.default_rng(3).random((2, 400)), np.repeat(np.arange(100), 4)
    drawn = resampled_means(values, user, 50_000, np.random.default_rng(7))  # more than are held at once
    counts = drawn_counts(100, 50_000, np.random.default_rng(7))
    assert (counts.sum(axis=1) == 100).all()
    sums = np.stack([np.bincount(user, weights=row) for row in values])
    np.testing.assert_allclose(drawn, (counts @ sums.T).T / 400, rtol=1e-12)


def test_the_error_is_the_plain_one_of_single_samples_and_of_users_means_where_all_have_as_many() -> None:
    rng = np.random.default_rng(1)
    difference = rng.normal(size=120)
    assert standard_error(difference, np.arange(120)) == pytest.approx(stats.sem(difference))
    means = difference.reshape(30, 4).mean(axis=1)
    assert standard_error(difference, np.repeat(np.arange(30), 4)) == pytest.approx(stats.sem(means))
    assert np.isnan(standard_error(difference, np.zeros(120, np.int64)))


def test_the_test_is_that_of_the_users_means_where_all_have_as_many() -> None:
    rng = np.random.default_rng(2)
    a, b = ranks(rng.integers(1, 30, size=200)), ranks(rng.integers(1, 40, size=200))
    whose = users(np.repeat(np.arange(50), 4), shuffle=3)
    result = paired_bootstrap(a, b, users=whose)
    means = (per_sample(a, "ndcg_at_10") - per_sample(b, "ndcg_at_10")).reshape(50, 4).mean(axis=1)
    expected = stats.ttest_1samp(means, 0.0)
    assert (result.t, result.p) == pytest.approx((expected.statistic, expected.pvalue))
    assert (result.n, result.users) == (200, 50)
    (verdict,) = against_best({"ours": [a], "it": [b]}, "ours", ("search",), ("ndcg_at_10",), users=whose)
    assert verdict.compared == result


def worlds(n: int) -> list[tuple[pa.Table, pa.Table, pa.Table]]:
    """Two models of the same quality; a user of eight samples is better served by one or by the other."""
    rng, made = np.random.default_rng(4), []
    for _ in range(n):
        user = np.repeat(np.arange(40), 8)
        taste = rng.choice([0, 12], size=40)[user]
        a, b = (ranks(rng.integers(1, 4, size=320) + shift) for shift in (taste, 12 - taste))
        made.append((a, b, users(user)))
    return made


def test_intervals_cover_the_truth_with_users_and_not_with_samples() -> None:
    def covers(result: Comparison) -> bool:
        return result.low <= 0 <= result.high

    made = worlds(100)
    with_users = [covers(paired_bootstrap(a, b, samples=300, confidence=0.8, users=u)) for a, b, u in made]
    with_samples = [covers(paired_bootstrap(a, b, samples=300, confidence=0.8, users=None)) for a, b, _ in made]
    assert 70 <= sum(with_users) <= 90
    assert sum(with_samples) < 50


def test_a_relative_change_draws_the_same_users_for_both() -> None:
    rng = np.random.default_rng(5)
    user = np.repeat(np.arange(40), 8)
    taste = rng.choice([0, 12], size=40)[user]
    base, same, other = ranks(1 + taste), ranks(1 + taste), ranks(13 - taste)
    whose = users(user)
    unchanged = relative_change([same], [base], "ndcg_at_10", users=whose)
    assert (unchanged.low, unchanged.high) == (0, 0)
    by_user, by_sample = (relative_change([other], [base], "ndcg_at_10", users=u) for u in (whose, None))
    assert by_user.change == by_sample.change
    assert by_user.high - by_user.low > 2 * (by_sample.high - by_sample.low)


def test_of_a_single_user_nothing_is_known() -> None:
    rng = np.random.default_rng(6)
    a, b = ranks(rng.integers(1, 9, size=60)), ranks(rng.integers(1, 9, size=60))
    one_user = users(np.zeros(60, np.int64))
    result = paired_bootstrap(a, b, users=one_user)
    assert (result.low, result.high, result.users) == (-1, 1, 1)
    assert np.isnan(result.p)
    change = relative_change([a], [b], "ndcg_at_10", users=one_user)
    assert (change.low, change.high) == (-1, pytest.approx(1 / change.base - 1))


def test_a_ratio_to_nothing_in_every_resample_is_an_error() -> None:
    """One resample of two samples, of which the base has one: with seed 0 it draws the other one twice."""
    some, none = ranks(np.array([1, 51])), ranks(np.array([51, 51]))
    with pytest.raises(DataError, match="in each of 1 resamples"):
        relative_change([none], [some], "ndcg_at_10", samples=1, seed=0, users=None)
