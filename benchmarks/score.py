"""Scoring 99 + 1 candidates per user in the shape of preset ``small``: ours against a generation per candidate.

    python -m benchmarks.score [--prompts 24 64] [--users 4]

The other side is a straightforward use of Hugging Face: one constrained ``generate`` over rows of a user and a
candidate, in the best of several batch sizes. The same weights; probabilities are asserted equal. Beside the ratio
stands its bound, by matrix products alone, and how near ours comes to what the machine does in one large product.
"""

from __future__ import annotations

import argparse
from typing import cast

import numpy as np
import torch

from benchmarks.common import seconds, tell
from benchmarks.drawn import HISTORY, drawn_data, drawn_model, flops, lists
from benchmarks.plain import Plain, collate
from gensr_model.allocator import keep_freed_memory
from gensr_model.data.batches import BatchBuilder
from gensr_model.data.prepared import PreparedDataset

NEGATIVES, ROWS = 99, (25, 100, 400)  # rows that the other side may score together


def machine_flops(size: int = 1024) -> float:
    """Operations per second of a large matrix product, on the same threads."""
    a, b = torch.rand(size, size), torch.rand(size, size)
    return float(2 * size**3 / seconds(lambda: a @ b))


def compare(prompt: int, users: int) -> None:
    """Both sides with prompts of one length; prints the result."""
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

    torch.testing.assert_close(ours(), other(ROWS[1]), atol=1e-5, rtol=0)
    ours_s = seconds(ours, 3)
    tried = {rows: seconds(lambda: other(rows), 1) for rows in ROWS}  # noqa: B023
    best = min(tried, key=lambda rows: tried[rows])
    work, theirs = flops(ours), flops(lambda: other(best))
    bound, speed = theirs / work, machine_flops()
    tell(
        f"scoring {1 + NEGATIVES} candidates per user, prompts of {prompt} tokens, against a generation per candidate",
        ours_s, tried[best],
        candidates_per_s=round(candidates.size / ours_s), other_candidates_per_s=round(candidates.size / tried[best]),
        other_rows_together=best, bound=round(bound, 2), share_of_bound=round(tried[best] / ours_s / bound, 2),
        share_of_machine=round(work / speed / ours_s, 3),
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--prompts", type=int, nargs="+", default=[24, 64])
    parser.add_argument("--users", type=int, default=4)
    given = parser.parse_args()
    keep_freed_memory()  # as a stage does; both sides gain
    for prompt in given.prompts:
        compare(prompt, given.users)


if __name__ == "__main__":
    main()
