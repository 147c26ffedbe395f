"""Training steps in the shape of preset ``small``: samples per second and memory, ours against a row per candidate.

python -m benchmarks.train [--prompts 24 64] [--batch 16]

Random weights, samples and candidates are the same and there is no dropout, so both sides have the same losses. Each
side runs in a separate process. A sample is one row of a user and a candidate. Ours keeps freed memory, as a stage does
(``gensr_model.runtime.malloc``). The other side is measured without it (``speedup``) and with it
(``speedup_both_kept``). The bound is the ratio of the sides' matrix products, if both did nothing else.
``share_of_bound`` above 1 means that the other side spends more on other work, even with kept memory.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import psutil
import torch
from torch import Tensor

from benchmarks.common import tell
from benchmarks.drawn import HISTORY, drawn_data, drawn_model, flops, lists
from benchmarks.plain import Plain, collate, main, three_ways
from benchmarks.sides import peak_bytes
from gensr_model.config.training import TrainConfig
from gensr_model.data.batches import BatchBuilder
from gensr_model.data.prepared import IntArray, PreparedDataset, Samples
from gensr_model.models.contrastive import distinct_users
from gensr_model.models.gensr import GenSR
from gensr_model.runtime.malloc import keep_freed_memory
from gensr_model.training.trainer import make_optimizer

STEPS, NEGATIVES, WARM = 5, 4, 1
Loss = Callable[[Samples, IntArray], Tensor]


def side(name: str, dataset: PreparedDataset, model: GenSR) -> tuple[torch.nn.Module, Loss]:
    """What is trained, and the loss of a batch of samples with their candidates."""
    builder = BatchBuilder(dataset, HISTORY)
    if name == "ours":
        return model, lambda samples, candidates: model.loss(builder.build(samples, candidates)).total
    plain = Plain(model)

    def loss(samples: Samples, candidates: IntArray) -> Tensor:
        user, end = torch.from_numpy(samples.user), torch.from_numpy(samples.history_end)
        has_history = torch.from_numpy(samples.history_end > samples.history_start)
        first = distinct_users(user, end, has_history) * candidates.shape[1]
        return plain.loss(collate(dataset, samples, candidates, HISTORY), first)

    return plain, loss


def child(name: str, prompt: int, batch: int, keep: bool) -> dict[str, Any]:
    """Train for some steps; losses, seconds per step, FLOPs, and how far memory rose above the loaded model."""
    if keep:
        keep_freed_memory()
    data = drawn_data()
    model = drawn_model("small", prompt, dropout=0.0)
    trained, loss_of = side(name, cast(PreparedDataset, data), model)
    trained.train()
    parameters = [p for p in trained.parameters() if p.requires_grad]
    if name == "ours":
        optimizer = make_optimizer(parameters, TrainConfig(learning_rate=1e-3, weight_decay=0.01))
    else:
        optimizer = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.01)
    rng = np.random.default_rng(0)
    losses, times = [], []
    before = psutil.Process().memory_info().rss
    for _ in range(STEPS):
        chosen = data.every.take(rng.integers(len(data.every), size=batch))
        candidates = lists(data, chosen, NEGATIVES, rng)
        begun = time.perf_counter()
        optimizer.zero_grad()
        loss = loss_of(chosen, candidates)
        loss.backward()
        optimizer.step()
        times.append(time.perf_counter() - begun)
        losses.append(loss.item())
    peak = peak_bytes() - before
    work = flops(lambda: loss_of(chosen, candidates).backward())
    return {"losses": losses, "step_s": min(times[WARM:]), "peak_mb": peak / 2**20, "flops": work}


def compare(prompt: int, batch: int) -> None:
    """Both sides with prompts of one length; prints the result."""
    ours, other, keeping = three_ways("train", "--prompts", prompt, "--batch", batch)
    for each in (other, keeping):
        np.testing.assert_allclose(ours["losses"], each["losses"], rtol=1e-3)
    bound, rows = other["flops"] / ours["flops"], batch * (1 + NEGATIVES)
    tell(
        f"a training step, prompts of {prompt} tokens, against a row per user and candidate",
        ours["step_s"], other["step_s"], kept_s=keeping["step_s"],
        speedup_both_kept=round(keeping["step_s"] / ours["step_s"], 2),
        samples_per_s=round(rows / ours["step_s"], 1), other_samples_per_s=round(rows / other["step_s"], 1),
        bound=round(bound, 2), share_of_bound=round(keeping["step_s"] / ours["step_s"] / bound, 2),
        gflop_per_s=round(ours["flops"] / ours["step_s"] / 1e9, 1),
        peak_mb=round(ours["peak_mb"]), other_peak_mb=round(min(other["peak_mb"], keeping["peak_mb"])),
    )  # fmt: skip


if __name__ == "__main__":
    main(__doc__, "batch", 16, child, compare)
