"""Estimates of mutual information where the truth is known: MINE, InfoNCE and SMILE beside k nearest neighbours.

Correlated Gaussians of 20 dimensions at 0, 1, 2, 5 and 10 nats; one-to-one maps of them, which change nothing;
discrete labels. The last line is one JSON object: every estimate, the bias at 10 nats, and whether MINE's claim in
``docs/reference/departures_analyses.md`` holds (±.05 at 0, within 10% from 1 to 5 nats).

    python -m benchmarks.mutual_information [samples] [steps] [seeds]
"""

from __future__ import annotations

import json
import math
import sys
import time

import numpy as np
import torch
from scipy.special import digamma
from sklearn.neighbors import KDTree, NearestNeighbors
from torch import Tensor

from gensr_model.analysis.critics import ESTIMATORS, CriticConfig, Draw, estimate, fixed
from gensr_model.analysis.mutual_information import plug_in_information

DIM, TRUTHS, MAPPED = 20, (0.0, 1.0, 2.0, 5.0, 10.0), 2.0
_NEIGHBOURS, _KNN_SAMPLES = 3, 5_000

torch.set_num_threads(1)


def gaussians(nats: float, samples: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """(N, 20) twice, with I(X; Y) = −10 log(1 − ρ²)."""
    rho = math.sqrt(1 - math.exp(-2 * nats / DIM))
    x, noise = torch.randn(2, samples, DIM, generator=torch.Generator().manual_seed(seed))
    return x, rho * x + math.sqrt(1 - rho**2) * noise


def mapped(samples: int) -> dict[str, tuple[Tensor, Tensor]]:
    """One-to-one maps of Gaussians with ``MAPPED`` nats."""
    x, y = gaussians(MAPPED, samples)
    turn = torch.linalg.qr(torch.randn(DIM, DIM, generator=torch.Generator().manual_seed(1))).Q
    half = DIM // 2
    shifted = torch.cat([y[:, :half], y[:, half:] + torch.sin(2 * y[:, :half])], dim=1)
    return {
        "y cubed": (x, y.pow(3)),
        "asinh of x, exp of y": (torch.asinh(x), y.exp()),
        "y cubed, then turned": (x, y.pow(3) @ turn),
        "half of y shifted by the sine of the other": (x, shifted),
    }


def labels(classes: int, error: float, samples: int) -> tuple[Tensor, Tensor, float]:
    """Even classes, the same seen through a channel with errors, as columns (N, 1), and their information."""
    rng = np.random.default_rng(0)
    label = rng.integers(classes, size=samples)
    wrong = (label + rng.integers(1, classes, size=samples)) % classes
    seen = np.where(rng.random(samples) < error, wrong, label)
    truth = math.log(classes) + (1 - error) * math.log(1 - error) + error * math.log(error / (classes - 1))
    return *(torch.from_numpy(side)[:, None] for side in (label, seen)), truth


def neighbours(x: Tensor, y: Tensor) -> float:
    """Nats by the first estimator of Kraskov, Stögbauer and Grassberger (2004), without any training."""
    a, b = (side[:_KNN_SAMPLES].double().numpy() for side in (x, y))
    near = NearestNeighbors(n_neighbors=_NEIGHBOURS, metric="chebyshev").fit(np.hstack([a, b]))
    radius = np.nextafter(near.kneighbors()[0][:, -1], 0)
    inside = [KDTree(side, metric="chebyshev").query_radius(side, radius, count_only=True) for side in (a, b)]
    return float(digamma(_NEIGHBOURS) + digamma(len(a)) - np.mean(sum(digamma(n) for n in inside)))


def gaussian(x: Tensor, y: Tensor) -> float:
    """Nats from sample covariances, which is right only for Gaussians."""
    both = np.cov(np.hstack([x.numpy(), y.numpy()]).T)
    logs = [np.linalg.slogdet(part)[1] for part in (both[:DIM, :DIM], both[DIM:, DIM:], both)]
    return float(0.5 * (logs[0] + logs[1] - logs[2]))


def row(name: str, truth: float, x: Tensor, draw: Draw, config: CriticConfig, **others: float) -> dict[str, float]:
    """All critics on one pair of variables, printed."""
    begun = time.perf_counter()
    estimates = {each: estimate(each, x, draw, config=config) for each in ESTIMATORS}
    values = {"truth": truth, **{each: round(e.nats, 4) for each, e in estimates.items()},
              "mine_std": round(estimates["mine"].std, 4), **{k: round(v, 4) for k, v in others.items()}}  # fmt: skip
    shown = "  ".join(f"{key} {value:7.3f}" for key, value in values.items())
    print(f"{name:44s} {shown}  ({time.perf_counter() - begun:.0f} s)", flush=True)
    return values


def main(samples: int = 50_000, steps: int = 1_500, seeds: int = 2) -> None:
    config = CriticConfig(steps=steps, seeds=seeds, hidden=128, batch_size=512, learning_rate=1e-3)
    print(f"nats; {samples:,} samples, {steps} steps, {seeds} seeds; InfoNCE cannot pass {math.log(2_048):.2f}")
    rows = {}
    for truth in TRUTHS:
        x, y = gaussians(truth, samples)
        rows[f"gaussian {truth:g}"] = row(
            f"Gaussians, {truth:g} nats", truth, x, fixed(y), config,
            neighbours=neighbours(x, y), gaussian=gaussian(x, y),
        )  # fmt: skip
    for name, (x, y) in mapped(samples).items():
        rows[name] = row(name, MAPPED, x, fixed(y), config, neighbours=neighbours(x, y), gaussian=gaussian(x, y))
    for classes, error in ((2, 0.1), (4, 0.2)):
        label, seen, truth = labels(classes, error, samples)
        counted = plug_in_information(label[:, 0].numpy(), seen[:, 0].numpy())
        hot = [torch.nn.functional.one_hot(side[:, 0], classes).float() for side in (label, seen)]
        name = f"{classes} labels, {error:.0%} wrong"
        rows[name] = row(name, truth, hot[0], fixed(hot[1]), config, counts=counted)
    near = [abs(rows[f"gaussian {t:g}"]["mine"] - t) <= max(0.05, 0.1 * t) for t in TRUTHS if t <= 5]
    print(
        json.dumps(
            {
                "claim": "MINE on 20-dimensional Gaussians is within .05 of 0 and within 10% of 1, 2 and 5 nats",
                "holds": all(near),
                "bias_at_10_nats": round(rows["gaussian 10"]["mine"] - 10, 3),
                "samples": samples,
                "rows": rows,
            }
        )
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
