"""A simulation of Theorem 4.1 in the Gaussian world of its proof (Eq. 4, 14, 15).

There are two tasks, each with even classes Y and X | Y = c ~ N(μ_c, Σ). The true parameter is that of P(Y = 1 | x) =
σ(w*·x + b*), w* = Σ⁻¹(μ₁ − μ₀). It is estimated from n samples in two ways, as in the proof's source (Prasad et al.
2017). Generative: the classes' means and one variance per coordinate, each by its own maximum likelihood.
Discriminative: maximum likelihood of P(Y | x). The proof claims that the generative error is smaller (Eq. 14), that
information rises as the error falls (Eq. 15), and so that the generative sum of information is larger (Eq. 4). The
simulation measures all three.

There are two worlds. In ``independent`` Σ is diagonal and the generative model is right. In ``correlated`` its
separability is an error.

Eq. 15 prints w for w²: ½ ln(1 + w σ_X²/σ_ε²) is no information of Y = wX + b + ε, and not real for w < −σ_ε²/σ_X². The
code takes w², in d dimensions wᵀ Σ_X w; σ_ε² = π²/3 is the variance of the logistic noise behind σ(w·x + b).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from gensr_model.analysis.figures import theorem_figure
from gensr_model.runtime.files import write_json
from gensr_model.runtime.progress import Report

WORLDS = {"independent": 0.0, "correlated": 0.5}  # correlation of any two coordinates within a class
SIZES = (30, 100, 300, 1_000, 4_000)
_DIM, _POPULATION, _NOISE = 8, 4_000, math.pi**2 / 3
_DISTANCES = (1.5, 2.5)  # distance of the classes in recommendation and in search, in standard deviations
_RIDGE = 0.01  # divided by n: a normal prior of deviation 10, so that separable samples have a finite estimate


class TaskWorld(NamedTuple):
    """One task: classes at ±shift/2 around 0, and the values that follow from them."""

    shift: Tensor  # (d,) μ₁ − μ₀
    covariance: Tensor  # (d, d) Σ, within a class
    weight: Tensor  # (d,) w*; b* = 0


class Sides(NamedTuple):
    """Measures of one task for every trial (T,), or for the truth (1,)."""

    error: Tensor  # ‖ŵ − w*‖
    gaussian: Tensor  # Eq. 15 with w², nats
    label: Tensor  # I(Ŷ; Y) of the decision Ŷ = 1[ŵ·x + b̂ > 0], nats; independent of the size of ŵ


def analyze_theorem(trials: int, seed: int, out: Path, report: Report) -> dict[str, float]:
    """Simulate both worlds. Returns every number as ``theorem/world/n/name``.

    Writes ``theorem.json`` (world → rows by n) and ``theorem.png`` into `out`.
    """
    simulated = {}
    for number, (world, correlation) in enumerate(WORLDS.items(), start=1):
        simulated[world] = simulate(correlation, trials=trials, seed=seed)
        report.progress(number, len(WORLDS), f"theorem 4.1, {world}")
    write_json(out / "theorem.json", simulated)
    theorem_figure(simulated, out / "theorem.png")
    return {
        f"theorem/{world}/{int(row['n'])}/{name}": value
        for world, rows in simulated.items()
        for row in rows
        for name, value in row.items()
        if name != "n"
    }


def simulate(
    correlation: float, *, sizes: tuple[int, ...] = SIZES, trials: int = 100, seed: int = 0
) -> list[dict[str, float]]:
    """One row per sample size, smallest first. Sums are over the two tasks, in nats.

    ``generative_error`` and ``discriminative_error`` are medians over trials of the root of both tasks' squared errors.
    ``error_holds`` is the share of trials in which Eq. 14 holds. ``*_gaussian`` are means of Eq. 15's sums, and
    ``*_label`` of I(Ŷ; Y) of the decisions, with the value at w* beside them. ``gaussian_holds`` and ``label_holds``
    are the shares of trials in which the sums are ordered as in Eq. 4.
    """
    generator = torch.Generator().manual_seed(seed)
    tasks = [make_task(distance, correlation, generator) for distance in _DISTANCES]
    samples = [draw(task, (trials, max(sizes)), generator) for task in tasks]
    population = [draw(task, (_POPULATION,), generator) for task in tasks]
    rows = []
    for n in sorted(sizes):
        sides: dict[str, list[Sides]] = {}
        for task, (x, y), fresh in zip(tasks, samples, population, strict=True):
            few = (x[:, :n], y[:, :n])
            estimates = {
                "generative": generative(*few),
                "discriminative": discriminative(*few),
                "true": torch.cat([task.weight, torch.zeros(1, dtype=torch.float64)]).unsqueeze(0),
            }
            for name, estimate in estimates.items():
                sides.setdefault(name, []).append(_sides(task, estimate, *fresh))
        rows.append({"n": float(n), **_row(sides)})
    return rows


def make_task(distance: float, correlation: float, generator: torch.Generator) -> TaskWorld:
    """A task whose classes are `distance` apart along a random direction (Euclidean, unit variances)."""
    direction = torch.randn(_DIM, generator=generator, dtype=torch.float64)
    shift = distance * direction / direction.norm()
    covariance = torch.full((_DIM, _DIM), correlation, dtype=torch.float64).fill_diagonal_(1.0)
    return TaskWorld(shift, covariance, torch.linalg.solve(covariance, shift))


def draw(task: TaskWorld, shape: tuple[int, ...], generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Samples (*shape, d) and their classes (*shape) 0 and 1, in turn, so that every prefix is balanced."""
    y = (torch.arange(shape[-1]) % 2).to(torch.float64).expand(shape)
    noise = torch.randn(*shape, _DIM, generator=generator, dtype=torch.float64)
    x = noise @ torch.linalg.cholesky(task.covariance).T
    return x + (y - 0.5).unsqueeze(-1) * task.shift, y


def generative(x: Tensor, y: Tensor) -> Tensor:
    """(T, n, d), (T, n) → (T, d + 1): ŵ and b̂ from class means and pooled variances.

    Each coordinate has a variance of its own.
    """
    one = y.unsqueeze(2)
    mean = [(side * x).sum(dim=1) / side.sum(dim=1) for side in (1 - one, one)]  # each (T, d)
    centred = x - torch.where(one > 0, mean[1].unsqueeze(1), mean[0].unsqueeze(1))
    weight = (mean[1] - mean[0]) / centred.pow(2).mean(dim=1)
    prior = y.mean(dim=1).logit()
    bias = prior - 0.5 * (weight * (mean[0] + mean[1])).sum(dim=1)
    return torch.cat([weight, bias.unsqueeze(1)], dim=1)


def discriminative(x: Tensor, y: Tensor, iterations: int = 25) -> Tensor:
    """(T, n, d), (T, n) → (T, d + 1): logistic regression of every trial by Newton steps.

    Each step takes the best of four lengths. The ridge keeps separable samples finite and is negligible elsewhere.
    """
    z = torch.cat([x, torch.ones_like(x[..., :1])], dim=2)  # (T, n, d + 1)
    ridge = torch.full((z.shape[2],), _RIDGE / z.shape[1], dtype=z.dtype)
    ridge[-1] = 0.0
    lengths = torch.tensor([1.0, 0.5, 0.1, 0.0], dtype=z.dtype)
    weight = z.new_zeros(len(z), z.shape[2])
    for _ in range(iterations):
        p = torch.sigmoid(torch.einsum("tnd,td->tn", z, weight))
        slope = torch.einsum("tnd,tn->td", z, p - y) / z.shape[1] + ridge * weight
        curve = (z * (p * (1 - p)).unsqueeze(2)).mT @ z / z.shape[1] + torch.diag(ridge + 1e-12)
        step = torch.linalg.solve(curve, slope)
        tried = weight - lengths[:, None, None] * step  # (4, T, d + 1)
        logit = torch.einsum("tnd,std->stn", z, tried)
        loss = (torch.nn.functional.softplus(logit) - y * logit).mean(dim=2) + 0.5 * (ridge * tried.pow(2)).sum(dim=2)
        best = loss.argmin(dim=0)
        weight = tried[best, torch.arange(len(z))]
        if bool((step.abs().amax(dim=1) < 1e-8).all()):
            break
    return weight


def gaussian_information(weight: Tensor, covariance: Tensor) -> Tensor:
    """Eq. 15 with w²: ½ ln(1 + wᵀ Σ_X w / σ_ε²) of weights (T, d), in nats."""
    return 0.5 * torch.log1p(torch.einsum("td,de,te->t", weight, covariance, weight) / _NOISE)


def _sides(task: TaskWorld, estimate: Tensor, x: Tensor, y: Tensor) -> Sides:
    """Measures of the estimates (T, d + 1) on the population (m, d), (m,)."""
    weight = estimate[:, :-1]
    whole = task.covariance + 0.25 * torch.outer(task.shift, task.shift)  # covariance of X over both classes
    chosen = (weight @ x.T + estimate[:, -1:] > 0).to(x)  # (T, m)
    yes = torch.stack([chosen[:, y == c].mean(dim=1) for c in (0, 1)])  # P(Ŷ = 1 | Y = c)
    label = _entropy(yes.mean(dim=0)) - _entropy(yes).mean(dim=0)
    return Sides((weight - task.weight).norm(dim=1), gaussian_information(weight, whole), label)


def _entropy(p: Tensor) -> Tensor:
    return torch.special.entr(p) + torch.special.entr(1 - p)


def _row(sides: dict[str, list[Sides]]) -> dict[str, float]:
    error = {name: torch.stack([s.error for s in tasks]).norm(dim=0) for name, tasks in sides.items()}
    row = {
        "generative_error": float(error["generative"].median()),
        "discriminative_error": float(error["discriminative"].median()),
        "error_holds": float((error["generative"] <= error["discriminative"]).double().mean()),
    }
    for kind in ("gaussian", "label"):
        total = {name: torch.stack([getattr(s, kind) for s in tasks]).sum(dim=0) for name, tasks in sides.items()}
        row |= {f"{name}_{kind}": float(value.mean()) for name, value in total.items()}
        row[f"{kind}_holds"] = float((total["discriminative"] <= total["generative"]).double().mean())
    return row
