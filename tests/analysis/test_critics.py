import math

import numpy as np
import pytest
import torch
from sklearn.feature_selection import mutual_info_regression
from torch import Tensor

from gensr_model.analysis.critics import (
    ESTIMATORS,
    Critic,
    CriticConfig,
    InfoNCE,
    LogAverage,
    Mine,
    Smile,
    estimate,
    fixed,
    normal_scores,
    standardise,
)
from gensr_model.errors import DataError

FAST = CriticConfig(steps=400, seeds=1)
LONG = CriticConfig(steps=1_500, seeds=1, hidden=128, batch_size=512, learning_rate=1e-3)  # the benchmark's


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def gaussians(information: float, samples: int, dim: int = 20, seed: int = 0) -> tuple[Tensor, Tensor]:
    """(N, dim) pairs with I(X; Y) = −dim/2 · log(1 − ρ²) nats."""
    rho = math.sqrt(1 - math.exp(-2 * information / dim))
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(samples, dim, generator=generator)
    return x, rho * x + math.sqrt(1 - rho**2) * torch.randn(samples, dim, generator=generator)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "truth"), [("mine", 0.0), ("mine", 1.0), ("mine", 2.0), ("infonce", 1.0), ("smile", 1.0)]
)
def test_gaussians_of_known_information(name: str, truth: float) -> None:
    """±.05 at 0 and 10% above; ``benchmarks.mutual_information`` has the larger values."""
    x, y = gaussians(truth, 20_000)
    result = estimate(name, x, fixed(y), config=FAST)
    assert result.nats == pytest.approx(truth, rel=0.1, abs=0.05)


@pytest.mark.parametrize("truth", [0.25, 1.0])
def test_a_librarys_estimator_that_trains_nothing_says_the_same(truth: float) -> None:
    """scikit-learn's, by nearest neighbours (Kraskov et al. 2004), which needs few dimensions; of a bent Gaussian."""
    x, y = gaussians(truth, 10_000, dim=1)
    y = torch.exp(0.5 * y)
    result = estimate("mine", x, fixed(y), config=FAST).nats
    (neighbours,) = mutual_info_regression(x.numpy(), y.squeeze(1).numpy(), random_state=0)
    assert neighbours == pytest.approx(truth, abs=0.05)
    assert result == pytest.approx(neighbours, abs=0.08)


@pytest.mark.slow
@pytest.mark.parametrize(("truth", "low", "high"), [(5.0, 4.5, 5.1), (10.0, 7.0, 8.5)])
def test_much_information_is_found_and_very_much_falls_short_as_stated(truth: float, low: float, high: float) -> None:
    """docs/reference/departures_analyses.md W: within 10% at 5 nats; at 10 it is 2.4 short."""
    x, y = gaussians(truth, 50_000)
    assert low < estimate("mine", x, fixed(y), config=LONG).nats < high


def test_a_one_to_one_map_changes_nothing() -> None:
    # Of every coordinate alone, and of half of them by the other half, which leaves no Gaussian pair.
    x, y = gaussians(1.0, 20_000)
    bent = torch.cat([y[:, :10], y[:, 10:] + torch.sin(2 * y[:, :10])], dim=1)
    result = estimate("mine", torch.asinh(x), fixed(bent.pow(3)), config=FAST)
    assert 0.8 < result.nats < 1.1
    few = CriticConfig(steps=30, seeds=1)
    assert estimate("mine", x.pow(3), fixed(y), config=few) == estimate("mine", x, fixed(y), config=few)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_discrete_labels_of_known_information(name: str) -> None:
    # Four equally likely classes seen through a channel that errs 20% of the time, one-hot on both sides.
    generator = torch.Generator().manual_seed(0)
    label = torch.randint(0, 4, (8_000,), generator=generator)
    wrong = (label + torch.randint(1, 4, (8_000,), generator=generator)) % 4
    seen = torch.where(torch.rand(8_000, generator=generator) < 0.2, wrong, label)
    truth = math.log(4) + 0.8 * math.log(0.8) + 0.2 * math.log(0.2 / 3)
    x, y = (torch.nn.functional.one_hot(k, 4).float() for k in (label, seen))
    assert estimate(name, x, fixed(y), config=FAST).nats == pytest.approx(truth, abs=0.05)


def test_the_values_of_a_matrix_by_hand() -> None:
    f = torch.tensor([[2.0, 0.5, -9.0], [1.0, 3.0, 0.0], [-1.0, 9.0, 4.0]])
    apart = [0.5, -9.0, 1.0, 0.0, -1.0, 9.0]
    log_mean = math.log(np.mean(np.exp(apart)))
    assert Mine().value([f]) == pytest.approx(3.0 - log_mean)
    clipped = math.log(np.mean(np.exp(np.clip(apart, -5, 5))))
    assert Smile(5.0).value([f]) == pytest.approx(3.0 - clipped)
    rows = f.numpy()
    contrast = np.mean([rows[i, i] - math.log(np.mean(np.exp(rows[i]))) for i in range(3)])
    assert InfoNCE().value([f]) == pytest.approx(contrast)
    assert InfoNCE().value([100 * torch.eye(8)]) == pytest.approx(math.log(8))  # all it can say
    assert Mine().value([f, f]) == pytest.approx(Mine().value([f]))


def test_large_values_do_not_overflow() -> None:
    # e^f would be infinite if it were ever formed.
    f = (1_000 * torch.randn(6, 6, generator=torch.Generator().manual_seed(0))).requires_grad_()
    for make in ESTIMATORS.values():
        estimator = make()
        for _ in range(3):
            loss = estimator.loss(f)
            assert torch.isfinite(loss)
            assert torch.isfinite(torch.autograd.grad(loss, f)[0]).all()
        assert math.isfinite(estimator.value([f.detach()]))


def test_the_gradient_is_that_of_eq_13_with_the_average_in_place_of_the_batch() -> None:
    f = torch.randn(5, 5, generator=torch.Generator().manual_seed(2), requires_grad=True)
    (first,) = torch.autograd.grad(Mine().loss(f), f)  # debiased: the first average is the batch's own mean
    apart = ~torch.eye(5, dtype=torch.bool)
    (plain,) = torch.autograd.grad(torch.logsumexp(f[apart], dim=0) - f.diagonal().mean(), f)
    torch.testing.assert_close(first, plain)
    mine = Mine(0.25)
    mine.loss(f)
    (second,) = torch.autograd.grad(mine.loss(f + 1.0), f)
    average = (0.75 * 1.0 + 1.0 * math.e) * 0.25 / (1 - 0.75**2)  # of e^f, in units of the first batch's mean
    torch.testing.assert_close(second[apart], plain[apart] * math.e / average)


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


def test_a_fresh_critic_is_zero_and_can_learn() -> None:
    critic = Critic(3, 2, 8, 4)
    x, y = torch.randn(5, 3), torch.randn(6, 2)
    assert not critic(x, y).any()
    Mine().loss(critic(x, y[:5])).backward()
    assert any(p.grad is not None and p.grad.any() for p in critic.parameters())


def test_same_seed_same_estimate_and_the_global_state_untouched() -> None:
    x, y = gaussians(1.0, 500, dim=3)
    config = CriticConfig(steps=50)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    result = estimate("mine", x, fixed(y), config=config)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(4)
    assert estimate("mine", x, fixed(y), config=config) == result
    assert result.std > 0, "every critic has a seed of its own"


def test_it_stops_when_held_out_samples_say_so() -> None:
    # Nothing to learn: the looks get worse, so most of the steps are never made.
    x, y = gaussians(0.0, 100, dim=5)
    batches = 0

    def draw(rows: Tensor, generator: torch.Generator) -> Tensor:
        nonlocal batches
        batches += len(rows) == 60  # the training part
        return y[rows]

    estimate("mine", x, draw, config=CriticConfig(steps=600, seeds=1))
    assert 50 < batches < 400


def test_normal_scores_keep_order_ties_and_the_middle() -> None:
    x = torch.tensor([[5.0, 1.0], [1e9, 1.0], [-3.0, 1.0], [5.0, 1.0]])
    result = normal_scores(x)
    assert result[0, 0] == result[3, 0]
    assert result[2, 0] < result[0, 0] < result[1, 0]
    assert not result[:, 1].any()
    torch.testing.assert_close(normal_scores(torch.randn(5_000, 1)).std(), torch.tensor(1.0), atol=1e-2, rtol=0)


def test_impossible_inputs_are_errors() -> None:
    with pytest.raises(DataError, match="N of 20 or more"):
        estimate("mine", torch.zeros(5, 3), fixed(torch.zeros(5, 1)))
    x = torch.zeros(50, 2)
    x[3, 1] = math.inf
    with pytest.raises(DataError, match="not finite"):
        estimate("mine", x, fixed(torch.zeros(50, 1)))


def test_blocks_weigh_alike_whatever_their_width() -> None:
    x = torch.randn(2_000, 9, generator=torch.Generator().manual_seed(0)) * 5.0 + 3.0
    x[:, 8] = 7.0  # a constant column stays at 0
    one_block = standardise(x)
    torch.testing.assert_close(one_block[:, :8].std(dim=0), torch.ones(8))
    assert not one_block[:, 8].any()
    together = standardise(x, (6, 2, 1))
    torch.testing.assert_close(together[:, :6].var(dim=0).sum(), torch.tensor(1.0))
    torch.testing.assert_close(together[:, 6:8].var(dim=0).sum(), torch.tensor(1.0))
