"""Training steps in deterministic mode against the same steps without it, with two threads.

python -m benchmarks.determinism [name ...]

Both sides of a model start from the same weights, take the same batches and draw the same dropout, in turn, in one
process. Their losses are asserted to be close. Seconds are user time of all threads, which other work on the machine
changes little. They do not show an idle core, so medians of wall time are printed too.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.common import prepared
from benchmarks.length_batches import baseline_training, gensr_training
from benchmarks.sides import arguments, in_child
from gensr_model.runtime.determinism import deterministic
from gensr_model.training.lightgcn import Bpr, batches, pair_generator
from gensr_model.training.trainer import make_optimizer

NAMES = ("lightgcn", "gensr", "sasrec", "unisar")
STEPS, WARM, THREADS = 24, 4, 2
Step = Callable[[int], float]  # trains on the batch of a number; its loss


def lightgcn_sides(dataset: Any, config: Any) -> list[Step]:
    user, item = dataset.graph()
    drawn = list(batches(user, item, dataset.n_items, config.lightgcn.batch_size, pair_generator(0)))

    def side() -> Step:
        bpr = Bpr(user, item, dataset.n_users, dataset.n_items, config.lightgcn, 0)
        return lambda number: bpr.step(*drawn[number % len(drawn)])

    return [side(), side()]


def model_sides(name: str, dataset: Any, config: Any) -> list[Step]:
    with tempfile.TemporaryDirectory(prefix="gensr-benchmark-") as folder:
        training = (
            gensr_training(dataset, config, Path(folder), by_length=True)
            if name == "gensr"
            else baseline_training(name, dataset, config, by_length=True)
        )

    def side(model: nn.Module) -> Step:
        parameters = [p for p in model.parameters() if p.requires_grad]
        optimizer = make_optimizer(parameters, training.settings)

        def step(number: int) -> float:
            torch.manual_seed(number)
            optimizer.zero_grad(set_to_none=True)
            loss = model.loss(training.data.batch(number)[1]).total  # type: ignore[operator]
            loss.backward()
            optimizer.step()
            return loss.item()

        return step

    return [side(copy.deepcopy(training.model)), side(training.model)]


def measure(name: str) -> dict[str, Any]:
    """Medians of both sides' user and wall milliseconds per step."""
    torch.set_num_threads(THREADS)
    dataset, config = prepared(users=1_500, items=1_000)
    sides = lightgcn_sides(dataset, config) if name == "lightgcn" else model_sides(name, dataset, config)
    costs: list[list[tuple[float, float]]] = [[], []]
    losses: list[list[float]] = [[], []]
    for number in range(WARM + STEPS):
        for place, step in enumerate(sides):
            wall, user = time.perf_counter(), os.times().user
            if place:
                losses[place].append(step(number))
            else:
                with deterministic():
                    losses[place].append(step(number))
            costs[place].append((os.times().user - user, time.perf_counter() - wall))
    np.testing.assert_allclose(*losses, rtol=2e-2)
    sums = [sum(user for user, _ in side[WARM:]) for side in costs]  # the clock's ticks are 10 ms: one step is too few
    walls = [statistics.median(wall for _, wall in side[WARM:]) for side in costs]
    return {
        "system": name,
        "user_ratio": round(sums[0] / sums[1], 3),
        "user_ms": [round(1_000 * value / STEPS, 1) for value in sums],
        "wall_ratio": round(walls[0] / walls[1], 3),
    }


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("names", nargs="*", help=f"{', '.join(NAMES)} where none is given")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(measure(given.child)))
        return
    os.environ["OMP_WAIT_POLICY"] = "passive"  # a thread that spins while it waits would count as work
    for name in given.names or NAMES:
        print(json.dumps(in_child("determinism", "--child", name)), flush=True)


if __name__ == "__main__":
    main()
