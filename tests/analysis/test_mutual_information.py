import math

import numpy as np
import pytest
import torch
from torch import Tensor

from gensr_model.analysis.mutual_information import (
    LogAverage,
    bernoulli_entropy,
    bernoulli_information,
    estimate_task_information,
    fixed,
    mine,
    nats_to_bits,
    standardise,
)
from gensr_model.errors import DataError


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def gaussians(information: float, samples: int, dim: int = 20, seed: int = 0) -> tuple[Tensor, Tensor]:
    """(N, dim) pairs with I(X; Y) = −dim/2 · log(1 − ρ²) nats."""
    rho = math.sqrt(1 - math.exp(-2 * information / dim))
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(samples, dim, generator=generator)
    return x, rho * x + math.sqrt(1 - rho**2) * torch.randn(samples, dim, generator=generator)


@pytest.mark.parametrize(("truth", "low", "high"), [(0.0, -0.02, 0.02), (1.0, 0.8, 1.1)])
def test_gaussians_of_known_information(truth: float, low: float, high: float) -> None:
    x, y = gaussians(truth, 20_000)
    found = mine(x, fixed(y), seeds=1, steps=1_500, hidden=128)
    assert low < found.nats < high


@pytest.mark.slow
@pytest.mark.parametrize(("truth", "low", "high"), [(2.0, 1.7, 2.1), (5.0, 4.0, 5.3)])
def test_gaussians_of_much_information(truth: float, low: float, high: float) -> None:
    x, y = gaussians(truth, 50_000)
    found = mine(x, fixed(y), seeds=1, steps=3_000, hidden=256, batch_size=1_024, learning_rate=1e-3)
    assert low < found.nats < high


def test_discrete_labels_of_known_information() -> None:
    # Four equally likely classes seen through a channel that errs 20% of the time, one-hot on both sides.
    generator = torch.Generator().manual_seed(0)
    label = torch.randint(0, 4, (8_000,), generator=generator)
    wrong = (label + torch.randint(1, 4, (8_000,), generator=generator)) % 4
    seen = torch.where(torch.rand(8_000, generator=generator) < 0.2, wrong, label)
    truth = math.log(4) + 0.8 * math.log(0.8) + 0.2 * math.log(0.2 / 3)
    x, y = (torch.nn.functional.one_hot(k, 4).float() for k in (label, seen))
    assert mine(x, fixed(y), seeds=1, steps=600).nats == pytest.approx(truth, abs=0.05)


@pytest.mark.parametrize("sharpness", [0.0, 1.0, 4.0])
def test_answers_drawn_from_a_known_probability(sharpness: float) -> None:
    """The demo's size: MINE must come near the exact value, from below, and stay under the entropy."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2_000, 64))
    p = 1 / (1 + np.exp(1 - sharpness * x[:, :8].sum(axis=1) / math.sqrt(8)))
    found = estimate_task_information(x, p, seeds=2, steps=600)
    assert found.exact_nats <= found.bound_nats <= math.log(2)
    assert found.exact_nats - 0.08 < found.mine_nats < found.exact_nats + 0.03
    assert found.mine_bits == pytest.approx(found.mine_nats / math.log(2))
    assert found.exact_bits == pytest.approx(found.exact_nats / math.log(2))


def test_features_that_say_nothing_about_the_answer_give_nothing() -> None:
    # The answer is nearly certain given the input, but x holds none of what decides it.
    rng = np.random.default_rng(0)
    p = rng.permutation(np.repeat([0.01, 0.99], 1_000))
    found = estimate_task_information(rng.normal(size=(2_000, 16)), p, seeds=2, steps=300)
    assert found.exact_nats > 0.6
    assert abs(found.mine_nats) < 0.03  # a critic that learned its samples by heart would show here


def test_exact_information_by_hand() -> None:
    assert bernoulli_information(np.array([0.0, 1.0])) == pytest.approx(math.log(2))
    assert bernoulli_information(np.full(9, 0.3)) == pytest.approx(0.0)
    p = np.array([0.1, 0.6])
    entropy = [-(q * math.log(q) + (1 - q) * math.log(1 - q)) for q in (*p, p.mean())]
    assert bernoulli_information(p) == pytest.approx(entropy[2] - (entropy[0] + entropy[1]) / 2)
    assert bernoulli_entropy(np.array([0.0, 0.5, 1.0])) == pytest.approx([0, math.log(2), 0])
    assert nats_to_bits(math.log(2)) == pytest.approx(1)


def test_large_critics_do_not_overflow() -> None:
    # e^f of features at this scale would be infinite if it were ever formed.
    x, y = gaussians(1.0, 2_000, dim=4)
    found = mine(1e6 * x, fixed(1e3 * y), seeds=1, steps=100)
    assert math.isfinite(found.nats)


def test_moving_average_in_logarithms() -> None:
    average = LogAverage(0.1)
    plain, seen = 0.0, []
    for step, value in enumerate([3.0, 5.0, 4.0, 8.0], start=1):
        plain = 0.9 * plain + 0.1 * value
        got = average.update(torch.tensor(value).log()).exp().item()
        assert got == pytest.approx(plain / (1 - 0.9**step), rel=1e-4)
        seen.append(got)
    assert seen[0] == pytest.approx(3.0)  # debiased: the first value, not a tenth of it
    assert torch.isfinite(LogAverage(0.1).update(torch.tensor(5_000.0)))


def test_same_seed_same_estimate_and_the_global_state_untouched() -> None:
    x, y = gaussians(1.0, 500, dim=3)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    found = mine(x, fixed(y), seeds=2, steps=50)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(4)
    assert mine(x, fixed(y), seeds=2, steps=50) == found
    assert found.by_seed[0] != found.by_seed[1]
    assert found.nats == pytest.approx(np.mean(found.by_seed))


def test_impossible_inputs_are_errors() -> None:
    with pytest.raises(DataError, match="20 samples"):
        estimate_task_information(np.zeros((5, 3)), np.full(5, 0.5))
    with pytest.raises(DataError, match="0 to 1"):
        bernoulli_information(np.array([0.5, 1.5]))
    with pytest.raises(DataError, match="0 to 1"):
        bernoulli_information(np.array([np.nan, 0.5]))
    x = np.zeros((50, 2))
    x[3, 1] = np.inf
    with pytest.raises(DataError, match="not finite"):
        estimate_task_information(x, np.full(50, 0.5))


def test_blocks_weigh_alike_whatever_their_width() -> None:
    x = torch.randn(2_000, 9, generator=torch.Generator().manual_seed(0)) * 5.0 + 3.0
    x[:, 8] = 7.0  # a constant column stays at 0
    alone = standardise(x)
    torch.testing.assert_close(alone[:, :8].std(dim=0), torch.ones(8))
    assert not alone[:, 8].any()
    together = standardise(x, (6, 2, 1))
    torch.testing.assert_close(together[:, :6].var(dim=0).sum(), torch.tensor(1.0))
    torch.testing.assert_close(together[:, 6:8].var(dim=0).sum(), torch.tensor(1.0))
