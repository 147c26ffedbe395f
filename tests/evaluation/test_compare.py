import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from gensr_model.errors import DataError
from gensr_model.evaluation import compare, resampling
from gensr_model.evaluation.compare import paired_bootstrap
from gensr_model.evaluation.metrics import per_sample, ranks_table


def ranks(places: np.ndarray, task: str = "search") -> pa.Table:
    """A ranks table whose positives stand at `places` (1-based) among 100."""
    scores = np.where(np.arange(99) < (places - 1)[:, None], 2.0, 0.0)
    return ranks_table(
        [f"s{n:05d}" for n in range(len(places))],
        [task] * len(places),
        np.concatenate([np.ones((len(places), 1)), scores], axis=1),
    )


@pytest.fixture
def pair() -> tuple[pa.Table, pa.Table]:
    rng = np.random.default_rng(0)
    worse = rng.integers(1, 30, size=800)
    better = np.maximum(1, worse - rng.integers(0, 3, size=800))
    return ranks(better), ranks(worse)


def test_difference_interval_and_t_test(pair: tuple[pa.Table, pa.Table]) -> None:
    a, b = pair
    got = paired_bootstrap(a, b, "ndcg_at_10", samples=2_000, confidence=0.95, seed=1, users=None)
    difference = per_sample(a, "ndcg_at_10") - per_sample(b, "ndcg_at_10")
    assert got.n == 800
    assert got.mean_difference == pytest.approx(difference.mean())
    # The percentile interval of a mean of 800 is close to the normal one.
    half = 1.96 * difference.std(ddof=1) / np.sqrt(800)
    assert got.low == pytest.approx(difference.mean() - half, abs=0.15 * half)
    assert got.high == pytest.approx(difference.mean() + half, abs=0.15 * half)
    expected = stats.ttest_rel(per_sample(a, "ndcg_at_10"), per_sample(b, "ndcg_at_10"))
    assert (got.t, got.p) == pytest.approx((expected.statistic, expected.pvalue))
    assert got.p < 0.01


def test_sign_follows_the_order_of_the_arguments(pair: tuple[pa.Table, pa.Table]) -> None:
    a, b = pair
    there, back = paired_bootstrap(a, b, users=None), paired_bootstrap(b, a, users=None)
    assert there.mean_difference == pytest.approx(-back.mean_difference)


def test_rows_are_matched_by_sample_id(pair: tuple[pa.Table, pa.Table]) -> None:
    a, b = pair
    shuffled = b.take(np.random.default_rng(3).permutation(b.num_rows))
    assert paired_bootstrap(a, shuffled, seed=5, users=None) == paired_bootstrap(a, b, seed=5, users=None)


def test_interval_covers_the_truth_at_the_stated_rate() -> None:
    # Two models of the same quality: the 80% interval must miss zero in about 20% of worlds.
    rng = np.random.default_rng(7)
    hits = 0
    for world in range(200):
        a, b = (ranks(rng.integers(1, 15, size=150)) for _ in range(2))
        got = paired_bootstrap(a, b, samples=300, confidence=0.8, seed=world, users=None)
        hits += got.low <= 0 <= got.high
    assert 140 <= hits <= 180


def test_same_seed_same_numbers_whatever_the_memory_bound(
    pair: tuple[pa.Table, pa.Table], monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = pair
    whole = paired_bootstrap(a, b, seed=9, samples=100, users=None)
    monkeypatch.setattr(resampling, "_CHUNK", 1_000)  # one resample at a time
    assert paired_bootstrap(a, b, seed=9, samples=100, users=None) == whole
    assert paired_bootstrap(a, b, seed=10, samples=100, users=None).low != whole.low


def test_identical_models_differ_by_nothing(pair: tuple[pa.Table, pa.Table]) -> None:
    got = paired_bootstrap(pair[0], pair[0], users=None)
    assert (got.mean_difference, got.low, got.high, got.t, got.p) == (0, 0, 0, 0, 1)


def test_one_task_of_two() -> None:
    rec, other = ranks(np.array([1, 2, 3]), "recommendation"), ranks(np.array([4, 5, 6]), "recommendation")
    extra = ranks(np.array([1]), "search").set_column(0, "sample_id", pa.array(["x"]))
    got = paired_bootstrap(pa.concat_tables([rec, extra]), other, task="recommendation", metric="mrr", users=None)
    assert got.n == 3


def test_different_samples_are_an_error(pair: tuple[pa.Table, pa.Table]) -> None:
    a, b = pair
    with pytest.raises(DataError, match=r"1 only in the first.*s00799"):
        paired_bootstrap(a, b.slice(0, 799), users=None)
    with pytest.raises(DataError, match="twice"):
        paired_bootstrap(a, pa.concat_tables([b.slice(0, 799), b.slice(0, 1)]), users=None)
    with pytest.raises(DataError, match="no sample"):
        paired_bootstrap(a, b, task="recommendation", users=None)


def test_holm_is_the_step_down_of_a_worked_example() -> None:
    # n = 4: .005·4, .01·3, .03·2, .04·1, and the last not below the one before it.
    assert compare.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert compare.holm([0.6, 0.7]) == [1.0, 1.0]
    assert compare.holm([]) == []
    result = compare.holm([0.02, float("nan"), 0.01])  # the undefined one is no test
    assert result[0] == pytest.approx(0.02)
    assert np.isnan(result[1])
    assert result[2] == pytest.approx(0.02)


def test_holm_keeps_the_family_wise_error_where_single_tests_do_not() -> None:
    rng = np.random.default_rng(5)
    p = stats.ttest_1samp(rng.normal(size=(400, 8, 30)), 0.0, axis=-1).pvalue  # nothing differs
    assert (p.min(axis=1) < 0.05).mean() > 0.25
    assert np.mean([min(compare.holm(row)) < 0.05 for row in p]) == pytest.approx(0.05, abs=0.03)


def test_ours_stands_against_the_best_baseline_of_each_column() -> None:
    rng = np.random.default_rng(2)
    places = rng.integers(1, 30, size=600)
    seeds = [ranks(np.maximum(1, places - rng.integers(0, 3, size=600))) for _ in range(3)]
    table = {"ours": seeds, "close": [ranks(places)], "far": [ranks(places + 20)]}
    result = compare.against_best(table, "ours", ("recommendation", "search"), ("ndcg_at_5", "mrr"), users=None)
    assert [(v.task, v.metric, v.baseline) for v in result] == [
        ("search", "ndcg_at_5", "close"),
        ("search", "mrr", "close"),
    ]
    ours = np.mean([per_sample(t, "mrr") for t in seeds], axis=0)
    expected = stats.ttest_rel(ours, per_sample(ranks(places), "mrr"))
    assert (result[1].compared.t, result[1].compared.p) == pytest.approx((expected.statistic, expected.pvalue))
    assert result[1].compared.mean_difference == pytest.approx((ours - per_sample(ranks(places), "mrr")).mean())
    assert [v.p_holm for v in result] == pytest.approx(compare.holm([v.compared.p for v in result]))
    smallest = min(result, key=lambda v: v.compared.p)
    assert smallest.p_holm == pytest.approx(2 * smallest.compared.p)

    shuffled = table | {"close": [ranks(places).take(rng.permutation(600))]}
    assert compare.against_best(shuffled, "ours", ("search",), ("mrr",), users=None)[0].compared.t == pytest.approx(
        result[1].compared.t
    )
    assert compare.against_best({"ours": seeds}, "ours", ("search",), ("mrr",), users=None) == []
    with pytest.raises(DataError, match="ranked different samples"):
        compare.against_best(table | {"close": [ranks(places[:-1])]}, "ours", ("search",), ("mrr",), users=None)


def test_the_same_difference_everywhere_has_no_t_test() -> None:
    """It would divide by a spread of 0: p = 0 for one sample said a thousand times."""
    assert np.isnan(compare.paired_t(np.full(5, 0.5), np.arange(5))).all()
    assert compare.paired_t(np.zeros(5), np.arange(5)) == (0.0, 1.0)
    assert np.isnan(compare.paired_t(np.array([0.5, 0.25]), np.zeros(2, np.int64))).all()  # one user
    rounded = np.array([0.1, 0.2, 0.3, 0.3, 0.2, 0.1])  # two users whose sums are equal but for rounding
    assert np.isnan(compare.paired_t(rounded, np.repeat([0, 1], 3))).all()
