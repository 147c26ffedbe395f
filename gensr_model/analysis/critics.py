"""Estimates of mutual information by a trained critic f(x, y), in nats: MINE (Eq. 13), InfoNCE and SMILE.

All three train the same critic on one part of the samples, stop on a second and are measured on a third. They differ in
what they maximise and in how they fail. The variance of MINE's bound grows like e^I. InfoNCE cannot exceed log(block).
SMILE clips and is no bound. Where the three agree, the value is credible.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from scipy.special import ndtri
from scipy.stats import rankdata
from torch import Tensor, nn

from gensr_model.errors import DataError
from gensr_model.runtime.determinism import deterministic

# Outputs (n, K) of given rows (n,), drawn with the given generator.
Draw = Callable[[Tensor, torch.Generator], Tensor]
BLOCK = 2_048  # samples of the estimate that are paired with each other
_LOOK_BLOCK = 512  # the same in training, which only compares two critics
_TRAIN, _CHOOSE = 0.6, 0.2  # shares of the samples for training and for early stopping; the estimate uses the rest
_LOOKS, _PATIENCE = 30, 8  # held-out checks in all steps; checks without improvement before stopping
_MIN_SAMPLES = 20


class Estimate(NamedTuple):
    """Mean and standard deviation over seeds of held-out estimates, in nats. They may be negative and are never
    clipped.
    """

    nats: float
    std: float


class CriticConfig(NamedTuple):
    """Training settings of a critic, the same for every estimator."""

    steps: int = 1_500
    seeds: int = 2
    hidden: int = 64
    width: int = 32  # width of the embeddings whose product the critic takes
    batch_size: int = 256
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2


class Estimator(Protocol):
    """An objective of a matrix of critic values, and its estimate.

    A matrix (n, n) holds f of every x, by row, with every y, by column. The diagonal holds the joint distribution, and
    the other entries the product of the marginals.
    """

    def loss(self, f: Tensor) -> Tensor:
        """The loss to minimise."""
        ...

    def value(self, blocks: Iterable[Tensor]) -> float:
        """The estimate in nats, on matrices of samples that training never used."""
        ...


class Critic(nn.Module):
    """f(x, y) = g(x)·h(y) + a(x) + b(y) for all pairs at once. A new critic is 0 everywhere.

    This is the separable critic of Poole et al. 2019 plus a term of each side, which the log density ratio of Gaussians
    has.

    Args:
        x_dim, y_dim: widths of the two sides.
        hidden, width: widths of the perceptrons, and of the embeddings g and h.
    """

    def __init__(self, x_dim: int, y_dim: int, hidden: int, width: int) -> None:
        super().__init__()
        self.x, self.y = _Tower(x_dim, hidden, width + 1), _Tower(y_dim, hidden, width + 1)
        for layer in (self.x.last, self.y.last, self.y.flat):
            nn.init.zeros_(layer.weight)  # f starts at 0, the best critic of independent sides
        for tower in (self.x, self.y):
            nn.init.zeros_(tower.last.bias)
            nn.init.zeros_(tower.flat.weight[-1:])

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """(n, D), (m, K) → (n, m)."""
        g, h = self.x(x), self.y(y)
        product: Tensor = g[:, :-1] @ h[:, :-1].T  # (n, m)
        return product + g[:, -1:] + h[:, -1]


class _Tower(nn.Module):
    """A perceptron plus a linear map: linear dependence needs no hidden unit."""

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.deep = nn.Sequential(nn.Linear(inputs, hidden), nn.ELU(), nn.Linear(hidden, hidden), nn.ELU())
        self.last = nn.Linear(hidden, outputs)
        self.flat = nn.Linear(inputs, outputs, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.last(self.deep(x)) + self.flat(x)
        return output


class Mine:
    """Eq. 13, E f − log E e^f (Belghazi et al. 2018), with the corrected gradient.

    The gradient of log E e^f is E[e^f ∇f] / E e^f. A batch's own mean in the denominator would bias it, so a moving
    average stands there. Its weight of the newest batch bounds the ratio, so nothing can overflow.
    """

    def __init__(self, weight: float = 0.05) -> None:
        self.average = LogAverage(weight)

    def loss(self, f: Tensor) -> Tensor:
        log_mean = _log_mean_exp(_apart(f))
        return torch.exp(log_mean - self.average.update(log_mean.detach())) - f.diagonal().mean()

    def value(self, blocks: Iterable[Tensor]) -> float:
        return _bound(blocks, math.inf)


class InfoNCE:
    """E[f(x, y) − log mean over the block of e^f(x, y′)] (van den Oord et al. 2018): at most log(block)."""

    def loss(self, f: Tensor) -> Tensor:
        return -self._rows(f).mean()

    def value(self, blocks: Iterable[Tensor]) -> float:
        return float(torch.cat([self._rows(f).double() for f in blocks]).mean())

    def _rows(self, f: Tensor) -> Tensor:
        return f.diagonal() - torch.logsumexp(f, dim=1) + math.log(f.shape[1])


class Smile:
    """Eq. 13 with e^f clipped to e^±clip, for a critic trained on Jensen–Shannon divergence (Song and Ermon 2020).

    The estimate has less variance than MINE, but a bias, and is no bound.
    """

    def __init__(self, clip: float = 5.0) -> None:
        self.clip = clip

    def loss(self, f: Tensor) -> Tensor:
        return F.softplus(-f.diagonal()).mean() + F.softplus(_apart(f)).mean()

    def value(self, blocks: Iterable[Tensor]) -> float:
        return _bound(blocks, self.clip)


ESTIMATORS: dict[str, Callable[[], Estimator]] = {"mine": Mine, "infonce": InfoNCE, "smile": Smile}


class LogAverage:
    """Exponential moving average of exp(values), stored as a logarithm, with the debiased start of Adam's moments."""

    def __init__(self, weight: float) -> None:
        self.weight, self.log, self.updates = weight, torch.tensor(-torch.inf), 0

    def update(self, log_value: Tensor) -> Tensor:
        """Add exp(log_value). Returns the logarithm of the average so far."""
        self.updates += 1
        self.log = torch.logaddexp(self.log + math.log1p(-self.weight), log_value + math.log(self.weight))
        return self.log - math.log1p(-((1.0 - self.weight) ** self.updates))


def fixed(y: Tensor) -> Draw:
    """A draw that always returns the outputs (N, K), for outputs that are data and not a distribution."""
    scores = normal_scores(y)
    return lambda rows, generator: scores[rows]


@deterministic()
def estimate(
    name: str,
    x: Tensor,
    draw: Draw,
    *,
    blocks: Sequence[int] | None = None,
    config: CriticConfig = CriticConfig(),  # noqa: B008  # immutable
    seed: int = 0,
    repeats: int = 1,
) -> Estimate:
    """I(X; Y) by one of ``ESTIMATORS``.

    Args:
        x: (N, D) features. Each column is replaced by its normal scores, and weighed by `blocks` as in `standardise`.
            Neither changes the information.
        draw: outputs of given rows.
        seed: seed of the first run; each run has its own split of the samples, critic and draws.
        repeats: draws of every held-out sample; one is enough where outputs are data. In each, a sample's x meets the y
            of every other sample of its block of up to `BLOCK`: that many shuffles.
    Raises:
        DataError: there are too few samples, or features are not finite.
    """
    if x.ndim != 2 or len(x) < _MIN_SAMPLES:
        raise DataError(
            f"{name} got features of the shape {tuple(x.shape)}. Give (N, D) with N of {_MIN_SAMPLES} or more."
        )
    x = standardise(normal_scores(x), blocks)
    with torch.random.fork_rng(devices=[]):  # critics start from the global random state; restore it afterwards
        runs = [_run(ESTIMATORS[name](), x, draw, seed + n, config, repeats) for n in range(config.seeds)]
    spread = float(np.std(runs, ddof=1)) if len(runs) > 1 else 0.0
    return Estimate(float(np.mean(runs)), spread)


def normal_scores(x: Tensor) -> Tensor:
    """Columns (N, D) by rank: their values become normal quantiles, and equal values stay equal.

    A strictly monotone map of a column changes no mutual information, and no outlier can then dominate a critic.

    Raises:
        DataError: a value is not finite.
    """
    if not bool(torch.isfinite(x).all()):
        raise DataError(
            "some values are not finite. The model or table that they come from has diverged: train it "
            "again with a lower learning rate."
        )
    ranks = rankdata(x.numpy(), axis=0)
    return torch.from_numpy(ndtri((ranks - 0.5) / len(x))).to(torch.float32)


def standardise(x: Tensor, blocks: Sequence[int] | None = None) -> Tensor:
    """Features (N, D) at mean 0 and variance 1.

    With `blocks`, the widths of consecutive blocks of columns, each block as a whole has variance 1. A few informative
    columns then weigh as much as a wide block of noise.
    """
    spread = x.std(dim=0)
    x = (x - x.mean(dim=0)) / torch.where(spread > 1e-8, spread, torch.ones_like(spread))
    if blocks is None:
        return x
    widths = torch.tensor(blocks)
    return x * widths.float().rsqrt().repeat_interleave(widths)


def _run(estimator: Estimator, x: Tensor, draw: Draw, seed: int, config: CriticConfig, repeats: int) -> float:
    """One critic: train on 60% of the samples, choose its best state on 20%, estimate on the last 20%."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(x), generator=generator)
    train, choose, test = order.tensor_split([int(_TRAIN * len(x)), int((_TRAIN + _CHOOSE) * len(x))])
    critic = Critic(x.shape[1], draw(order[:1], generator).shape[1], config.hidden, config.width)
    optimizer = torch.optim.AdamW(
        critic.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0 - 0.95 * step / config.steps)
    look = max(1, config.steps // _LOOKS)
    best, best_weights, worse = -math.inf, critic.state_dict(), 0
    for step in range(config.steps + 1):
        if step % look == 0:
            value = _held_out(estimator, critic, x, draw, choose, generator, _LOOK_BLOCK, 1 + repeats // 4)
            worse = 0 if value > best else worse + 1
            if value > best:
                best, best_weights = value, {name: t.clone() for name, t in critic.state_dict().items()}
            if worse == _PATIENCE:
                break
        rows = train[torch.randperm(len(train), generator=generator)[: config.batch_size]]
        optimizer.zero_grad()
        estimator.loss(critic(x[rows], draw(rows, generator))).backward()
        optimizer.step()
        schedule.step()
    critic.load_state_dict(best_weights)
    return _held_out(estimator, critic, x, draw, test, generator, BLOCK, repeats)


@torch.no_grad()
def _held_out(
    estimator: Estimator, critic: Critic, x: Tensor, draw: Draw, rows: Tensor, generator: torch.Generator,
    size: int, repeats: int,
) -> float:  # fmt: skip
    def blocks() -> Iterable[Tensor]:
        for _ in range(repeats):
            order = rows[torch.randperm(len(rows), generator=generator)]
            for block in order.tensor_split(math.ceil(len(rows) / size)):
                yield critic(x[block], draw(block, generator))

    return estimator.value(blocks())


def _bound(blocks: Iterable[Tensor], clip: float) -> float:
    """Eq. 13 over all pairs of every block, e^f clipped in the second term."""
    joint, marginal, pairs = [], [], 0
    for f in blocks:
        joint.append(f.diagonal().double())
        marginal.append(torch.logsumexp(_apart(f).clamp(-clip, clip), dim=0).double())
        pairs += f.numel() - len(f)
    log_mean = torch.logsumexp(torch.stack(marginal), dim=0) - math.log(pairs)
    return float(torch.cat(joint).mean() - log_mean)


def _apart(f: Tensor) -> Tensor:
    """The n(n − 1) values off the diagonal of (n, n)."""
    n = len(f)
    return f.flatten()[1:].view(n - 1, n + 1)[:, :-1].flatten()


def _log_mean_exp(f: Tensor) -> Tensor:
    return torch.logsumexp(f, dim=0) - math.log(len(f))
