"""Where the CPU time of a step goes, in the shape of preset ``small``: one line of shares for each.

python -m benchmarks.where [--prompts 24 64] [--batch 16] [--users 4]

Training is forward, backward and AdamW of 16 samples with 5 candidates each; scoring is 4 users with 100 candidates
each, with one thread. torch's profiler times every operation, without the operations that it calls.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.drawn import HISTORY, drawn_data, drawn_model, lists
from benchmarks.gpu import by_kind
from benchmarks.sides import arguments
from gensr_model.config.training import TrainConfig
from gensr_model.data.batches import BatchBuilder
from gensr_model.data.prepared import PreparedDataset
from gensr_model.runtime.malloc import keep_freed_memory
from gensr_model.training.trainer import make_optimizer

STEPS = 3
KINDS = {
    "attention": ("attention", "softmax", "flash"),
    "optimizer": ("adam", "foreach"),
    "lookup and pooling of texts": ("embedding", "index", "gather", "scatter", "sort", "unique"),
    "matrix products": ("mm", "matmul", "linear"),
    "copies": ("copy", "cat", "contiguous", "zero", "fill"),
}  # by parts of operations' names


def shares(what: str, work: Callable[[], Any]) -> None:
    """Print the share of each kind of operation, the largest first, and the milliseconds of a step."""
    work()
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        for _ in range(STEPS):
            work()
    total = by_kind([(event.key, event.self_cpu_time_total) for event in profiled.key_averages()], KINDS)
    all_of_it = sum(total.values())
    rows = {kind: round(us / all_of_it, 3) for kind, us in total.items()}
    print(json.dumps({"where": what, "ms": round(all_of_it / STEPS / 1e3), "shares": rows}), flush=True)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--prompts", type=int, nargs="+", default=[24, 64])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--users", type=int, default=4)
    given = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()  # as a stage does
    data, rng = drawn_data(), np.random.default_rng(0)
    builder = BatchBuilder(cast(PreparedDataset, data), HISTORY)
    for prompt in given.prompts:
        model = drawn_model("small", prompt)
        optimizer = make_optimizer([p for p in model.parameters() if p.requires_grad], TrainConfig())
        chosen = data.every.take(np.arange(given.batch))
        batch = builder.build(chosen, lists(data, chosen, 4, rng))

        def step(batch: Any = batch, model: Any = model, optimizer: Any = optimizer) -> None:
            optimizer.zero_grad()
            model.loss(batch).total.backward()
            optimizer.step()

        shares(f"training, {given.batch} × 5 rows, prompts of {prompt} tokens", step)
        model.eval()
        few = data.every.take(np.arange(given.users))
        listed = builder.build(few, lists(data, few, 99, rng))
        with torch.inference_mode():
            shares(
                f"scoring, {given.users} × 100 rows, prompts of {prompt} tokens",
                lambda: model.score(listed),  # noqa: B023
            )


if __name__ == "__main__":
    main()
