"""Scoring 99 + 1 candidates per user in the shape of preset ``small``: ours against a generation per candidate.

python -m benchmarks.score [--prompts 24 64] [--users 4]

The other side is a straightforward use of Hugging Face: one constrained ``generate`` over rows of a user and a
candidate, in the best of several batch sizes. Weights are the same, and probabilities are asserted equal. Each side
runs in a separate process. Ours keeps freed memory, as a stage does (``gensr_model.runtime.malloc``). The other side is
measured without it (``speedup``) and with it (``speedup_both_kept``). The benchmark also prints the bound by matrix
products alone, and how near ours comes to the machine's speed in one large product.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import numpy as np
import torch

from benchmarks.common import seconds, tell
from benchmarks.drawn import HISTORY, drawn_data, drawn_model, flops, lists
from benchmarks.plain import Plain, collate, main, three_ways
from gensr_model.data.batches import BatchBuilder
from gensr_model.data.prepared import PreparedDataset
from gensr_model.runtime.malloc import keep_freed_memory

NEGATIVES, ROWS = 99, (25, 100, 400)  # rows that the other side may score together


def machine_flops(size: int = 1024) -> float:
    """Operations per second of a large matrix product, on the same threads."""
    a, b = torch.rand(size, size), torch.rand(size, size)
    return float(2 * size**3 / seconds(lambda: a @ b))


def child(name: str, prompt: int, users: int, keep: bool) -> dict[str, Any]:
    """One side: seconds to score, probabilities, FLOPs. The other side runs in its best batch size."""
    if keep:
        keep_freed_memory()
    data = drawn_data()
    dataset = cast(PreparedDataset, data)
    model = drawn_model("small", prompt).eval()
    samples = data.every.take(np.arange(users))
    candidates = lists(data, samples, NEGATIVES, np.random.default_rng(0))
    builder, plain = BatchBuilder(dataset, HISTORY), Plain(model).eval()

    @torch.inference_mode()
    def ours() -> torch.Tensor:
        return model.score(builder.build(samples, candidates)).sigmoid()

    def other(rows: int) -> torch.Tensor:
        every = collate(dataset, samples, candidates, HISTORY)
        parts = [plain.score(every.part(start, rows)) for start in range(0, candidates.size, rows)]
        return torch.cat(parts).view(candidates.shape)

    tried: dict[int, Callable[[], torch.Tensor]] = {0: ours}
    if name == "other":
        tried = {rows: partial(other, rows) for rows in ROWS}
    taken = {rows: seconds(work, 3 if name == "ours" else 1) for rows, work in tried.items()}
    best = min(taken, key=lambda rows: taken[rows])
    return {
        "seconds": taken[best],
        "rows": best,
        "scores": tried[best]().tolist(),
        "flops": flops(tried[best]),
        "machine": machine_flops(),
    }


def compare(prompt: int, users: int) -> None:
    """Both sides with prompts of one length; prints the result."""
    ours, other, keeping = three_ways("score", "--prompts", prompt, "--users", users)
    for side in (other, keeping):
        np.testing.assert_allclose(ours["scores"], side["scores"], atol=1e-5, rtol=0)
    ours_s, rows, bound = ours["seconds"], users * (1 + NEGATIVES), other["flops"] / ours["flops"]
    both_kept = keeping["seconds"] / ours_s
    tell(
        f"scoring {1 + NEGATIVES} candidates per user, prompts of {prompt} tokens, against a generation per candidate",
        ours_s, other["seconds"], kept_s=keeping["seconds"], speedup_both_kept=round(both_kept, 2),
        candidates_per_s=round(rows / ours_s), other_candidates_per_s=round(rows / other["seconds"]),
        other_rows_together=[other["rows"], keeping["rows"]], bound=round(bound, 2),
        share_of_bound=round(both_kept / bound, 2), share_of_machine=round(ours["flops"] / ours["machine"] / ours_s, 3),
    )  # fmt: skip


if __name__ == "__main__":
    main(__doc__, "users", 4, child, compare)
