"""Scoring 99 + 1 candidates per user: ours against one constrained generation per user and candidate.

Also printed: how near ours comes to what the machine could do, if it did nothing but the model's multiplications at
the speed of one large matrix product.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.common import prepared, seconds, tell
from benchmarks.plain import Plain, collate
from gensr_model.data.batches import Batch, BatchBuilder
from gensr_model.models.gensr import GenSR
from gensr_model.report import NullReport
from gensr_model.training import bundle, lightgcn

PER_TASK, ROWS = 8, 100  # samples; rows that the other side scores together


def flops(model: GenSR, batch: Batch) -> int:
    """Floating-point operations of the matrix products of one call of ``score``."""
    # With gradients, and attention spelled out: fused kernels are not counted.
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        model.score(batch)
    return counter.get_total_flops()


def machine_flops(size: int = 1024) -> float:
    """Operations per second of a large matrix product, on the same threads."""
    a, b = torch.rand(size, size), torch.rand(size, size)
    return float(2 * size**3 / seconds(lambda: a @ b))


def main() -> None:
    dataset, config = prepared(users=1_000, items=800)
    with tempfile.TemporaryDirectory(prefix="gensr-benchmark-") as name:
        few = config.lightgcn.model_copy(update={"epochs": 2})
        lightgcn.pretrain(dataset, few, 0, Path(name), NullReport())
        model, _ = bundle.assemble("gensr", dataset, Path(name), config)
    assert isinstance(model, GenSR)
    model.eval()
    samples, negatives = dataset.samples("test"), dataset.candidates("test")
    chosen = np.concatenate([np.flatnonzero(samples.task == task)[:PER_TASK] for task in (0, 1)])
    samples, lists = samples.take(chosen), np.column_stack([samples.item, negatives])[chosen]
    width = config.model.max_history
    builder, plain = BatchBuilder(dataset, width), Plain(model).eval()

    @torch.inference_mode()
    def ours() -> torch.Tensor:
        return model.score(builder.build(samples, lists)).sigmoid()

    def other() -> torch.Tensor:
        rows = collate(dataset, samples, lists, width)
        parts = [plain.score(rows.part(start, ROWS)) for start in range(0, lists.size, ROWS)]
        return torch.cat(parts).view(lists.shape)

    begun = time.perf_counter()
    theirs = other()
    taken = time.perf_counter() - begun
    torch.testing.assert_close(ours(), theirs, atol=1e-5, rtol=0)
    repeat = 3 if taken < 20 else 1
    ours_s, other_s = seconds(ours, 5), seconds(other, repeat)
    work, speed = flops(model, builder.build(samples, lists)), machine_flops()
    tell(
        "scoring 99 + 1 candidates per user, against one constrained generation per candidate", ours_s, other_s,
        candidates_per_s=round(lists.size / ours_s), other_candidates_per_s=round(lists.size / other_s),
        bound_candidates_per_s=round(lists.size * speed / work), share_of_bound=round(work / speed / ours_s, 3),
    )  # fmt: skip


if __name__ == "__main__":
    main()
