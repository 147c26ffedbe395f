"""Ranking and training in the shape of preset ``laptop``, with kept freed memory and with glibc's defaults.

python -m benchmarks.malloc [--users 64] [--batch 64] [--prompt 24]

Each side runs in a separate process with one thread, the same random weights and samples. Scores and losses are
asserted equal. The benchmark prints the ratio, the page faults of a step and the peak of memory.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import torch

from benchmarks.common import tell
from benchmarks.drawn import HISTORY, drawn_data, drawn_model, lists
from benchmarks.sides import arguments, in_child, peak_bytes
from gensr_model.config.training import TrainConfig
from gensr_model.data.batches import BatchBuilder
from gensr_model.data.prepared import PreparedDataset
from gensr_model.runtime.malloc import keep_freed_memory
from gensr_model.training.trainer import make_optimizer

STEPS, WARM = 12, 2
SIDES = ("kept", "given back")
REPEAT = 3  # processes of each side, in turns: the machine may have other work


def steps(what: str, rows: int, prompt: int) -> Callable[[], float]:
    """A step of training or of ranking; it returns the loss, or the sum of the scores."""
    data, rng = drawn_data(), np.random.default_rng(0)
    builder = BatchBuilder(cast(PreparedDataset, data), HISTORY)
    model = drawn_model("laptop", prompt, dropout=0.0)

    def batch(negatives: int) -> Any:
        chosen = data.every.take(rng.integers(len(data.every), size=rows))
        return builder.build(chosen, lists(data, chosen, negatives, rng))

    if what == "training":
        optimizer = make_optimizer([p for p in model.parameters() if p.requires_grad], TrainConfig())

        def train() -> float:
            optimizer.zero_grad()
            loss = model.loss(batch(4)).total
            loss.backward()
            optimizer.step()
            return loss.item()

        return train

    @torch.inference_mode()
    def rank() -> float:
        return float(model.score(batch(99)).sum())

    model.eval()
    return rank


def child(side: str, what: str, rows: int, prompt: int) -> dict[str, Any]:
    """One side: seconds of the median step, what each gave, page faults of a step, peak memory."""
    if side == "kept" and not keep_freed_memory():
        sys.exit("the C library is not glibc: there is nothing to compare")
    step, values, times = steps(what, rows, prompt), [], []
    for number in range(STEPS):
        if number == WARM:
            faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        begun = time.perf_counter()
        values.append(step())
        times.append(time.perf_counter() - begun)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "step_s": float(np.median(times[WARM:])),
        "values": values,
        "faults": (usage.ru_minflt - faults) // (STEPS - WARM),
        "peak_mb": peak_bytes() // 2**20,
    }


def compare(what: str, rows: int, prompt: int) -> None:
    """Both sides in turns; prints the best of each."""
    tried = [
        [in_child("malloc", "--child", side, what, "--users", rows, "--prompt", prompt) for side in SIDES]
        for _ in range(REPEAT)
    ]
    ours, other = (min(side, key=lambda one: float(one["step_s"])) for side in zip(*tried, strict=True))
    np.testing.assert_allclose(ours["values"], other["values"], rtol=1e-5)
    tell(
        f"{what} of {rows} samples with the laptop's T5, freed memory kept, against glibc's own ways",
        ours["step_s"], other["step_s"],
        page_faults=ours["faults"], other_page_faults=other["faults"],
        peak_mb=ours["peak_mb"], other_peak_mb=other["peak_mb"],
    )  # fmt: skip


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--users", type=int, default=64)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--prompt", type=int, default=24)
    parser.add_argument("--child", nargs=2, metavar=("SIDE", "WHAT"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(child(*given.child, given.users, given.prompt)))
        return
    compare("training", given.batch, given.prompt)
    compare("ranking", given.users, given.prompt)


if __name__ == "__main__":
    main()
