"""Cosine of the two tasks' gradients on shared parameters, on one mini-batch (§6.5).

Noise also gives a cosine near 0 between gradients of thousands of parameters. So the probe measures a null too: the
cosine between the gradients of two random halves of *one* task's rows in the same mini-batch. Tasks conflict where
their cosine is below that of a task with itself, on the same number of rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gensr_model.models.base import ProbedModel


class GradientCosine(NamedTuple):
    """Agreement of gradients: −1 opposed, 0 orthogonal, 1 aligned."""

    cosine: float  # between tasks, on all rows
    norm_search: float
    norm_recommendation: float
    cosine_halves: float  # between tasks, on half of the rows of each, mean over the four pairs: compare with the null
    null_recommendation: float  # between two halves of the recommendation rows
    null_search: float


def task_gradient_cosine(model: ProbedModel, batch: Any, parameters: Sequence[nn.Parameter]) -> GradientCosine | None:
    """Cosines between gradients of the task losses in `parameters`, flattened, in float32.

    The batch goes through the model as two random halves, at the cost of one pass over it. A task's gradient is the
    mean of its halves, weighted by their rows. In each half both losses come from one forward pass, so both tasks see
    the same dropout masks. Training does not change: no `.grad` is touched, and random states are restored. None where
    no angle exists: a task has fewer than two rows, or a gradient is zero.
    """
    rows = [torch.nonzero(batch.task == number).squeeze(1) for number in (0, 1)]
    if min(map(len, rows)) < 2:
        return None
    devices = sorted({p.device.index or 0 for p in parameters if p.device.type == "cuda"})
    with torch.random.fork_rng(devices=devices), torch.enable_grad():
        mixed = [task[torch.randperm(len(task)).to(task.device)] for task in rows]
        halves = [torch.cat([task.tensor_split(2)[half] for task in mixed]).sort().values for half in (0, 1)]
        gradients = torch.stack([_gradients(model, batch.take(half), parameters) for half in halves])
    if not bool(torch.isfinite(gradients).all()):
        return None
    counts = torch.tensor([[len(task.tensor_split(2)[half]) for task in rows] for half in (0, 1)])
    share = (counts / counts.sum(dim=0)).to(gradients)  # (half, task)
    whole = (share.unsqueeze(2) * gradients).sum(dim=0)  # (task, P)
    if not bool((gradients.norm(dim=2) > 0).all() and (whole.norm(dim=1) > 0).all()):
        return None
    unit = F.normalize(gradients, dim=2)
    between = unit[:, 0] @ unit[:, 1].T  # (half of recommendation, half of search)
    null = (unit[0] * unit[1]).sum(dim=1)  # (task,)
    cosine = float(F.normalize(whole[0], dim=0) @ F.normalize(whole[1], dim=0))
    norms = whole.norm(dim=1).tolist()
    return GradientCosine(cosine, norms[1], norms[0], float(between.mean()), *null.tolist())


def _gradients(model: ProbedModel, batch: Any, parameters: Sequence[nn.Parameter]) -> Tensor:
    """(2, P) gradients of both task losses."""
    recommendation, search = model.task_losses(batch)
    first = _flat_gradient(recommendation, parameters, keep_graph=True)
    return torch.stack([first, _flat_gradient(search, parameters, keep_graph=False)])


def _flat_gradient(loss: Tensor, parameters: Sequence[nn.Parameter], keep_graph: bool) -> Tensor:
    """(P,) gradient of a loss. Zeros for a parameter that does not enter the loss."""
    if not loss.requires_grad:
        return torch.cat([torch.zeros_like(p).float().flatten() for p in parameters])
    gradients = torch.autograd.grad(loss, list(parameters), retain_graph=keep_graph, allow_unused=True)
    parts = [torch.zeros_like(p) if g is None else g for g, p in zip(gradients, parameters, strict=True)]
    return torch.cat([part.detach().float().flatten() for part in parts])
