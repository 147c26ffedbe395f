"""Mutual information between a model's input features and its answer (§6.4.1, Eq. 13), in nats.

Two values stand side by side. MINE trains a critic on the Donsker–Varadhan bound. And since the answer is
drawn as Ŷ ~ Bernoulli(p(input)), with p known for every input, the information that the answer carries
about the whole input is known exactly: H(E p) − E H(p), never more than H(E p) ≤ ln 2. MINE sees only
pooled features X of the input, so by the data-processing inequality its true target is at most the exact
value: an estimate well above it is wrong.
The paper's Table 5 (.85 to .94) can only be bits: a yes-or-no answer holds at most one bit, .693 nats.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from gensr_model.errors import DataError

Draw = Callable[[Tensor, torch.Generator], Tensor]
_TRAIN, _CHOOSE = 0.6, 0.2  # shares of the samples; the rest is what the estimate is made on
_EMA = 0.05
_MIN_SAMPLES = 20


class MineEstimate(NamedTuple):
    """Mean and standard deviation over seeds of held-out estimates, in nats; may be negative, never clipped."""

    nats: float
    std: float
    by_seed: tuple[float, ...]


class TaskInformation(NamedTuple):
    """I(X; Ŷ) of one task: MINE's estimate, the exact value for the whole input, and the entropy above both."""

    mine_nats: float
    mine_std: float
    exact_nats: float
    bound_nats: float
    mine_bits: float
    exact_bits: float


def nats_to_bits(nats: float) -> float:
    """The same information in bits."""
    return nats / math.log(2)


def bernoulli_entropy(p: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """H(p) in nats of each probability, any shape; 0 at 0 and at 1."""
    p = np.asarray(p, np.float64)
    inside = np.clip(p, np.finfo(np.float64).tiny, 1.0)
    outside = np.clip(1.0 - p, np.finfo(np.float64).tiny, 1.0)
    return -(p * np.log(inside) + (1.0 - p) * np.log(outside))


def bernoulli_information(p: npt.NDArray[np.floating]) -> float:
    """Exact I(input; Ŷ) = H(E p) − E H(p) in nats for Ŷ ~ Bernoulli(p), over (N,) equally likely inputs.

    Raises DataError where a value is no probability.
    """
    p = np.asarray(p, np.float64)
    if p.size == 0 or not ((p >= 0) & (p <= 1)).all():
        raise DataError("answer probabilities must be a non-empty array of values from 0 to 1")
    return float(bernoulli_entropy(p.mean()) - bernoulli_entropy(p).mean())


def estimate_task_information(
    x: npt.NDArray[np.floating],
    probability: npt.NDArray[np.floating],
    *,
    blocks: Sequence[int] | None = None,
    seeds: int = 2,
    steps: int = 1_500,
    seed: int = 0,
) -> TaskInformation:
    """I(X; Ŷ) for features `x` (N, D) and answers drawn from `probability` (N,) = σ(score).

    `blocks` as in `standardise`.

    A new answer is drawn each time a sample is used: that is what the joint distribution is, and a critic
    cannot learn one draw by heart. Raises DataError on shapes or values that cannot be.
    """
    exact = bernoulli_information(probability)
    p = torch.from_numpy(np.asarray(probability, np.float32))

    def draw(rows: Tensor, generator: torch.Generator) -> Tensor:
        return (torch.rand(len(rows), generator=generator) < p[rows]).float().unsqueeze(1)

    features = torch.from_numpy(np.asarray(x, np.float32))
    found = mine(features, draw, blocks=blocks, seeds=seeds, steps=steps, seed=seed)
    bound = float(bernoulli_entropy(np.mean(probability, keepdims=True))[0])
    return TaskInformation(found.nats, found.std, exact, bound, nats_to_bits(found.nats), nats_to_bits(exact))


def fixed(y: Tensor) -> Draw:
    """The draw for outputs (N, K) that are data, not a distribution."""
    return lambda rows, generator: y[rows]


def mine(
    x: Tensor,
    draw: Draw,
    *,
    blocks: Sequence[int] | None = None,
    seeds: int = 2,
    steps: int = 1_500,
    seed: int = 0,
    hidden: int = 64,
    batch_size: int = 512,
    learning_rate: float = 2e-3,
    shuffles: int = 64,
) -> MineEstimate:
    """MINE (Belghazi et al. 2018): the largest Eq. 13 that a small critic reaches, measured on samples it
    never saw.

    Args:
        x: (N, D) features; standardised here, by `blocks` where they are given.
        draw: outputs (n, K) of the rows (n,) that it is given, with the generator that it may use.
        seeds: runs, each with its own split of the samples, critic and draws; from `seed` on.
        shuffles: pairings of x with y of other samples that estimate the second term.
    Raises:
        DataError: too few samples, or features that are not finite.
    """
    if x.ndim != 2 or len(x) < _MIN_SAMPLES:
        raise DataError(f"MINE needs (N, D) features of {_MIN_SAMPLES} samples or more, got {tuple(x.shape)}")
    if not bool(torch.isfinite(x).all()):
        raise DataError(
            "MINE got features that are not finite: the model or table they come from has diverged"
        )
    x = standardise(x, blocks)
    with torch.random.fork_rng(devices=[]):  # critics start from global random state; give it back untouched
        runs = [
            _run(x, draw, seed + number, steps, hidden, batch_size, learning_rate, shuffles)
            for number in range(seeds)
        ]
    return MineEstimate(float(np.mean(runs)), float(np.std(runs)), tuple(runs))


def standardise(x: Tensor, blocks: Sequence[int] | None = None) -> Tensor:
    """Features (N, D) at mean 0 and variance 1; with `blocks`, the widths of consecutive blocks of columns, each
    block as a whole at variance 1. A few telling columns then weigh as much as a wide block of noise."""
    spread = x.std(dim=0)
    x = (x - x.mean(dim=0)) / torch.where(spread > 1e-8, spread, torch.ones_like(spread))
    if blocks is None:
        return x
    widths = torch.tensor(blocks)
    return x * widths.float().rsqrt().repeat_interleave(widths)


def _run(
    x: Tensor,
    draw: Draw,
    seed: int,
    steps: int,
    hidden: int,
    batch_size: int,
    learning_rate: float,
    shuffles: int,
) -> float:
    """One critic: train on 60% of the samples, keep its best on 20%, estimate on the last 20%."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(x), generator=generator)
    train, choose, test = order.tensor_split([int(_TRAIN * len(x)), int((_TRAIN + _CHOOSE) * len(x))])
    width = draw(order[:1], generator).shape[1]
    critic = nn.Sequential(
        nn.Linear(x.shape[1] + width, hidden),
        nn.ELU(),
        nn.Linear(hidden, hidden),
        nn.ELU(),
        nn.Linear(hidden, 1),
    )
    optimizer = torch.optim.AdamW(critic.parameters(), lr=learning_rate, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0 - 0.9 * step / steps)
    average = LogAverage(_EMA)
    best, kept = -math.inf, critic.state_dict()
    for step in range(1, steps + 1):
        rows = train[torch.randint(len(train), (min(batch_size, len(train)),), generator=generator)]
        joint, marginal = _terms(critic, x[rows], draw(rows, generator), generator, 1)
        log_mean = torch.logsumexp(marginal, dim=0) - math.log(len(marginal))
        # Of log E e^f the gradient is E[e^f ∇f] / E e^f; a batch's own mean below would bias it, so the
        # moving average stands there. Its weight of the newest batch bounds the ratio: nothing can
        # overflow.
        ratio = torch.exp(log_mean - average.update(log_mean.detach()))
        optimizer.zero_grad()
        (ratio - joint.mean()).backward()
        optimizer.step()
        schedule.step()
        if step % max(1, steps // 20) == 0:
            value = _bound(critic, x, draw, choose, generator, max(1, shuffles // 4))
            if value > best:
                best, kept = value, {name: t.clone() for name, t in critic.state_dict().items()}
    critic.load_state_dict(kept)
    return _bound(critic, x, draw, test, generator, shuffles)


class LogAverage:
    """Exponential moving average of exp(values), kept as a logarithm, with the debiased start of Adam's moments."""

    def __init__(self, weight: float) -> None:
        self.weight, self.log, self.updates = weight, torch.tensor(-torch.inf), 0

    def update(self, log_value: Tensor) -> Tensor:
        """Take in exp(log_value); the logarithm of the average so far."""
        self.updates += 1
        self.log = torch.logaddexp(self.log + math.log1p(-self.weight), log_value + math.log(self.weight))
        return self.log - math.log1p(-((1.0 - self.weight) ** self.updates))


def _terms(
    critic: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator, shuffles: int
) -> tuple[Tensor, Tensor]:
    """f on n pairs (n,), and on the same x with y of `shuffles` random orders (n · shuffles,)."""
    mixed = torch.cat([y[torch.randperm(len(y), generator=generator)] for _ in range(shuffles)])
    pairs = torch.cat([torch.cat([x, y], dim=1), torch.cat([x.repeat(shuffles, 1), mixed], dim=1)])
    f = critic(pairs).squeeze(1)
    return f[: len(x)], f[len(x) :]


@torch.no_grad()
def _bound(
    critic: nn.Module, x: Tensor, draw: Draw, rows: Tensor, generator: torch.Generator, shuffles: int
) -> float:
    """Eq. 13 on the samples `rows`: E f − log E e^f, both terms over many draws and orders."""
    joint, marginal = [], []
    for _ in range(shuffles):
        f, g = _terms(critic, x[rows], draw(rows, generator), generator, 1)
        joint.append(f)
        marginal.append(g)
    flat = torch.cat(marginal).double()
    return float(torch.cat(joint).double().mean() - (torch.logsumexp(flat, dim=0) - math.log(len(flat))))
