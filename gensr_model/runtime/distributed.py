"""Data parallelism: operations that make a loss equal to that of the whole batch.

Each process has a part of every batch, and gradients are averaged over processes. A loss that is a mean over rows, or
that compares rows with each other, needs these functions to equal the whole batch's loss. In a single process they do
nothing.
"""

from __future__ import annotations

import atexit
import functools
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable


def processes() -> int:
    """Number of processes that train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def shard() -> tuple[int, int]:
    """(r, R) for the r-th of R processes. The first one writes files."""
    return (dist.get_rank(), processes()) if processes() > 1 else (0, 1)


@functools.cache
def end_group_at_exit() -> None:
    """End the group of processes when this one exits: its threads may else outlive the interpreter, which aborts."""
    atexit.register(lambda: dist.destroy_process_group() if dist.is_available() and dist.is_initialized() else None)


def mean(values: Tensor) -> Tensor:
    """Mean of ``values`` over all processes' parts, which may differ in size. 0 where all are empty.

    Averaged over processes, the results and their gradients equal those of the mean over the whole batch.
    """
    if processes() == 1:
        return values.mean() if values.numel() else values.sum()
    count = torch.tensor(float(values.numel()), device=values.device)
    dist.all_reduce(count)
    return values.sum() * processes() / count.clamp(min=1)


def gather_rows(part: Tensor) -> Tensor:
    """(n, ...) of this process → (N, ...) of all, in process order. Gradients flow back to the process of each row.

    The backward pass adds up the gradients of all processes, each of which has the same loss over all rows. Averaging
    over processes then leaves the gradient of that loss. ``part`` needs a gradient in all processes or in none, also
    where it has no rows.
    """
    if processes() == 1:
        return part
    gathered: Tensor = _GatherRows.apply(part)
    return gathered


@functools.cache
def _of_gathered_rows() -> dist.ProcessGroup | None:
    """The group that adds up gradients of gathered rows.

    The trainer adds up those of parameters at the same time, and in another order where processes use other parameters.
    """
    return dist.new_group()


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, part: Tensor) -> Tensor:
        counts = [torch.zeros(1, dtype=torch.long, device=part.device) for _ in range(processes())]
        dist.all_gather(counts, torch.tensor([len(part)], device=part.device))
        sizes = [int(count) for count in counts]
        padded = part.new_zeros(max(sizes), *part.shape[1:])
        padded[: len(part)] = part
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded)
        _of_gathered_rows()  # all processes begin it here together
        ctx.start, ctx.size = sum(sizes[: dist.get_rank()]), len(part)
        return torch.cat([rows[:size] for rows, size in zip(parts, sizes, strict=True)])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        dist.all_reduce(total, group=_of_gathered_rows())
        return total[ctx.start : ctx.start + ctx.size]
