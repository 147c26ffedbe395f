import math

import numpy as np
import pytest
import torch
from sklearn.metrics import mutual_info_score

from gensr_model.analysis.critics import CriticConfig
from gensr_model.analysis.mutual_information import (
    bernoulli_entropy,
    bernoulli_information,
    draw_answers,
    estimate_task_information,
    nats_to_bits,
    plug_in_information,
)
from gensr_model.errors import DataError


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def labels(n: int) -> np.ndarray:
    return np.arange(n) % 2


@pytest.mark.parametrize("sharpness", [0.0, 1.0, 4.0])
def test_answers_drawn_from_a_known_probability(sharpness: float) -> None:
    """The demo's size: estimates must come near the exact value, from below, and stay under the entropy."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2_000, 64))
    score = sharpness * x[:, :8].sum(axis=1) / math.sqrt(8) - 1
    found = estimate_task_information(x, score, labels(2_000), config=CriticConfig(steps=300, seeds=1))
    assert found.exact_nats <= found.bound_nats <= math.log(2)
    for estimate in (found.mine_nats, found.infonce_nats, found.smile_nats):
        assert found.exact_nats - 0.09 < estimate < found.exact_nats + 0.03
    assert found.label_nats < 0.01  # x says nothing about these labels
    assert found.mine_bits == pytest.approx(found.mine_nats / math.log(2))
    assert found.exact_bits == pytest.approx(found.exact_nats / math.log(2))
    assert found.label_bits == pytest.approx(found.label_nats / math.log(2))
    if sharpness == 4.0:
        assert found.raw_score_nats > 1.2 * found.bound_nats  # it has no bound


def test_features_that_say_nothing_about_the_answer_give_nothing() -> None:
    # The answer is nearly certain given the input, but x holds none of what decides it.
    rng = np.random.default_rng(0)
    score = rng.permutation(np.repeat([-4.6, 4.6], 1_000))
    config = CriticConfig(steps=150, seeds=1)
    found = estimate_task_information(
        rng.normal(size=(2_000, 16)), score, (score > 0).astype(int), config=config
    )
    assert found.exact_nats > 0.6
    for estimate in (found.mine_nats, found.infonce_nats, found.smile_nats):
        assert abs(estimate) < 0.03  # a critic that learned its samples by heart would show here
    assert found.label_nats == pytest.approx(found.exact_nats, abs=0.02)  # a confident model that is right


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
    assert plug_in_information(rows.numpy(), drawn.astype(int)) == pytest.approx(
        bernoulli_information(p), abs=2e-3
    )


def test_entropy_of_certain_and_even_answers() -> None:
    assert bernoulli_entropy(np.array([0.0, 1.0])).tolist() == [0, 0]
    assert bernoulli_entropy(np.array([0.5]))[0] == pytest.approx(math.log(2))
    assert bernoulli_information(np.array([0.0, 1.0])) == pytest.approx(math.log(2))
    assert nats_to_bits(math.log(2)) == 1


def test_impossible_inputs_are_errors() -> None:
    with pytest.raises(DataError, match="20 samples"):
        estimate_task_information(np.zeros((5, 3)), np.zeros(5), labels(5))
    with pytest.raises(DataError, match="0 to 1"):
        bernoulli_information(np.array([0.5, 1.5]))
    with pytest.raises(DataError, match="0 to 1"):
        bernoulli_information(np.array([0.5, np.nan]))
    with pytest.raises(DataError, match="one length"):
        plug_in_information(np.zeros(3, int), np.zeros(4, int))
