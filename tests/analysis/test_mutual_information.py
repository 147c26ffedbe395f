import math

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import mutual_info_score

from gensr_model.analysis.critics import CriticConfig
from gensr_model.analysis.mutual_information import (
    bernoulli_entropy,
    bernoulli_information,
    draw_answers,
    estimate_task_information,
    information_gaps,
    nats_to_bits,
    plug_in_information,
)
from gensr_model.errors import DataError


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def labels(n: int) -> np.ndarray:
    return np.arange(n) % 2


@pytest.mark.slow
@pytest.mark.parametrize("sharpness", [0.0, 1.0, 4.0])
def test_answers_drawn_from_a_known_probability(sharpness: float) -> None:
    """The demo's size: estimates must come near the exact value, from below, and stay under the entropy."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2_000, 64))
    score = sharpness * x[:, :8].sum(axis=1) / math.sqrt(8) - 1
    result = estimate_task_information(x, score, labels(2_000), config=CriticConfig(steps=300, seeds=1))
    assert result.exact_nats <= result.bound_nats <= math.log(2)
    for estimate in (result.mine_nats, result.infonce_nats, result.smile_nats):
        assert result.exact_nats - 0.09 < estimate < result.exact_nats + 0.03
    assert result.label_nats < 0.01  # x says nothing about these labels
    assert result.mine_bits == pytest.approx(result.mine_nats / math.log(2))
    assert result.exact_bits == pytest.approx(result.exact_nats / math.log(2))
    assert result.label_bits == pytest.approx(result.label_nats / math.log(2))
    if sharpness == 4.0:
        assert result.raw_score_nats > 1.2 * result.bound_nats  # it has no bound


def test_features_that_say_nothing_about_the_answer_give_nothing() -> None:
    # The answer is nearly certain given the input, but x holds none of what decides it.
    rng = np.random.default_rng(0)
    score = rng.permutation(np.repeat([-4.6, 4.6], 1_000))
    config = CriticConfig(steps=150, seeds=1)
    result = estimate_task_information(rng.normal(size=(2_000, 16)), score, (score > 0).astype(int), config=config)
    assert result.exact_nats > 0.6
    for estimate in (result.mine_nats, result.infonce_nats, result.smile_nats):
        assert abs(estimate) < 0.03  # a critic that learned its samples by heart would show here
    assert result.label_nats == pytest.approx(result.exact_nats, abs=0.02)  # a confident model that is right


def test_plug_in_information_is_scikit_learns_and_its_bias_the_known_one() -> None:
    rng = np.random.default_rng(0)
    a = rng.integers(0, 5, 700)
    b = (a + rng.integers(0, 2, 700)) % 5 - 7
    assert plug_in_information(a, b) == pytest.approx(mutual_info_score(a, b))
    assert plug_in_information(a, a) == pytest.approx(math.log(5), abs=0.01)
    coins = rng.integers(0, 2, (2, 400, 200))
    biased = np.mean([plug_in_information(*coins[:, k]) for k in range(400)])
    assert biased == pytest.approx(1 / (2 * 200), rel=0.2)


def test_counts_of_drawn_answers_come_to_the_exact_value() -> None:
    p = np.random.default_rng(0).random(50)
    rows = torch.arange(50).repeat(4_000)
    drawn = draw_answers(p)(rows, torch.Generator().manual_seed(0)).squeeze(1).numpy()
    assert set(np.unique(drawn)) == {-1.0, 1.0}
    assert plug_in_information(rows.numpy(), drawn.astype(int)) == pytest.approx(bernoulli_information(p), abs=2e-3)


def test_entropy_of_certain_and_even_answers() -> None:
    assert bernoulli_entropy(np.array([0.0, 1.0])).tolist() == [0, 0]
    assert bernoulli_entropy(np.array([0.5]))[0] == pytest.approx(math.log(2))
    assert bernoulli_information(np.array([0.0, 1.0])) == pytest.approx(math.log(2))
    assert nats_to_bits(math.log(2)) == 1


def test_impossible_inputs_are_errors() -> None:
    with pytest.raises(DataError, match="N of 20 or more"):
        estimate_task_information(np.zeros((5, 3)), np.zeros(5), labels(5))
    with pytest.raises(DataError, match="0 to 1"):
        bernoulli_information(np.array([0.5, 1.5]))
    with pytest.raises(DataError, match="0 to 1"):
        bernoulli_information(np.array([0.5, np.nan]))
    with pytest.raises(DataError, match="one length"):
        plug_in_information(np.zeros(3, int), np.zeros(4, int))


def test_gaps_are_those_of_a_loop_over_resamples() -> None:
    rng = np.random.default_rng(4)
    n = 60
    label = (np.arange(n) % 2).astype(np.int64)
    ours, theirs = 3.0 * label - 1.5 + rng.normal(size=n), 0.5 * rng.normal(size=n)

    def nats(score: np.ndarray, rows: np.ndarray) -> tuple[float, float]:
        p, y = 1 / (1 + np.exp(-score[rows])), label[rows]
        joint = {(a, b): float(((p if a else 1 - p) * (y == b)).mean()) for a in (0, 1) for b in (0, 1)}
        with_label = 0.0
        for (a, b), both in joint.items():
            apart = (joint[a, 0] + joint[a, 1]) * (joint[0, b] + joint[1, b])
            with_label += both * math.log(both / apart) if both else 0.0
        return bernoulli_information(p), with_label

    result = information_gaps(ours, theirs, label, confidence=0.8, seed=2)
    every = np.arange(n)
    for i, name in enumerate(("exact", "label")):
        assert result[name].difference == pytest.approx(nats(ours, every)[i] - nats(theirs, every)[i])
    looped = np.array([
        np.subtract(nats(ours, rows), nats(theirs, rows)) for rows in rng.integers(0, n, size=(2_000, n))
    ])  # fmt: skip
    for i, name in enumerate(("exact", "label")):
        spread = looped[:, i].std()
        assert result[name].low == pytest.approx(np.quantile(looped[:, i], 0.1), abs=0.15 * spread)
        assert result[name].high == pytest.approx(np.quantile(looped[:, i], 0.9), abs=0.15 * spread)
    whole = np.subtract(nats(ours, every), nats(theirs, every))
    without = np.array([
        np.subtract(nats(ours, np.delete(every, row)), nats(theirs, np.delete(every, row))) for row in every
    ])  # fmt: skip
    pseudo = n * whole - (n - 1) * without
    for i, name in enumerate(("exact", "label")):
        t = pseudo[:, i].mean() / (pseudo[:, i].std(ddof=1) / math.sqrt(n))
        assert result[name].p == pytest.approx(2 * stats.t.sf(abs(t), n - 1))
    same = information_gaps(ours, ours, label)
    assert all(gap == (0.0, 0.0, 0.0, 1.0) for gap in same.values())


def test_the_test_of_a_gap_rejects_as_often_as_it_says() -> None:
    """Two models whose scores have one distribution: no gap, so p is below .1 in a tenth of data sets."""
    rng, n, worlds = np.random.default_rng(5), 200, 400
    label = (np.arange(n) % 2).astype(np.int64)
    p = [
        [gap.p for gap in information_gaps(*scores, label, resamples=1).values()]
        for scores in 2 * label - 1 + 1.5 * rng.normal(size=(worlds, 2, n))
    ]
    error = math.sqrt(0.1 * 0.9 / worlds)
    assert (np.array(p) < 0.1).mean(axis=0) == pytest.approx(0.1, abs=3 * error)


def test_a_gap_bears_resamples_of_one_label_alone() -> None:
    """Of which no answer tells anything about the label."""
    label = np.array([0, 0, 0, 0, 0, 1], np.int64)
    result = information_gaps(np.linspace(-2, 2, 6), np.zeros(6), label)
    assert all(math.isfinite(value) for gap in result.values() for value in gap[:3])
    of_one_label = information_gaps(np.linspace(-2, 2, 6), np.zeros(6), label * 0)["label"]
    assert of_one_label[:3] == pytest.approx((0.0, 0.0, 0.0), abs=1e-12)
    assert math.isnan(of_one_label.p)


def test_rounding_is_no_difference() -> None:
    rng = np.random.default_rng(7)
    label = (np.arange(400) % 2).astype(np.int64)
    score = 2 * label - 1 + rng.normal(size=400)
    result = information_gaps(score, score + 1e-15 * rng.normal(size=400), label, resamples=1)
    assert [gap.p for gap in result.values()] == [1.0, 1.0]


def test_answers_that_have_nothing_to_do_with_the_label_are_not_tested_about_it() -> None:
    """There I(Ŷ; Y) is flat, and pseudo-values are not normal: a test finds differences that are none."""
    rng, label, worlds = np.random.default_rng(8), (np.arange(400) % 2).astype(np.int64), 200
    p = np.array([
        information_gaps(1.5 * a, 0.3 * b, label, resamples=1)["label"].p for a, b in rng.normal(size=(worlds, 2, 400))
    ])  # fmt: skip
    assert np.isnan(p).mean() > 0.9
    assert (p < 0.05).mean() <= 0.05
    blind = information_gaps(2.0 * label + rng.normal(size=400), rng.normal(size=400), label, resamples=1)
    assert blind["label"].p < 1e-6, "one model's answers are enough"
