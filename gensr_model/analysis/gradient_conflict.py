"""Do the two tasks pull shared parameters the same way? Cosine of their gradients on one mini-batch (§6.5)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from gensr_model.data.batches import Batch


class TwoTaskModel(Protocol):
    """What the probe needs of a model."""

    def task_losses(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Scalar losses (recommendation, search) before any weighting; NaN for a task the batch lacks."""
        ...


class GradientCosine(NamedTuple):
    """Agreement of the task gradients: −1 opposed, 0 at right angles, 1 aligned."""

    cosine: float
    norm_search: float
    norm_recommendation: float


def task_gradient_cosine(
    model: TwoTaskModel, batch: Batch, parameters: Sequence[nn.Parameter]
) -> GradientCosine | None:
    """Cosine between the gradients of both task losses in `parameters`, flattened, in float32.

    Both losses come from one forward pass, so both tasks see the same dropout masks. Nothing of training
    changes: no `.grad` is touched, and random states are put back. None where no angle exists: the batch
    lacks a task, or a gradient is zero.
    """
    devices = sorted({p.device.index or 0 for p in parameters if p.device.type == "cuda"})
    with torch.random.fork_rng(devices=devices), torch.enable_grad():
        recommendation, search = model.task_losses(batch)
        if not (torch.isfinite(recommendation) and torch.isfinite(search)):
            return None
        flat_search = _flat_gradient(search, parameters, keep_graph=True)
        flat_recommendation = _flat_gradient(recommendation, parameters, keep_graph=False)
    norm_search, norm_recommendation = float(flat_search.norm()), float(flat_recommendation.norm())
    if norm_search == 0.0 or norm_recommendation == 0.0:
        return None
    cosine = float((flat_search / norm_search) @ (flat_recommendation / norm_recommendation))
    return GradientCosine(cosine, norm_search, norm_recommendation)


def _flat_gradient(loss: Tensor, parameters: Sequence[nn.Parameter], keep_graph: bool) -> Tensor:
    """(P,) gradient of a loss; zeros where a parameter does not enter it."""
    if not loss.requires_grad:
        return torch.zeros(sum(p.numel() for p in parameters))
    found = torch.autograd.grad(loss, list(parameters), retain_graph=keep_graph, allow_unused=True)
    parts = [torch.zeros_like(p) if g is None else g for g, p in zip(found, parameters, strict=True)]
    return torch.cat([part.detach().float().flatten() for part in parts])
