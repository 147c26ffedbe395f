"""Augmented copies of histories, without a loop over samples."""

from __future__ import annotations

import torch
from torch import Tensor


def query_key(words: Tensor) -> Tensor:
    """(..., L) word ids → (...) int64, equal for equal queries. Keys of other queries differ except by chance."""
    # Horner's rule in int64 that wraps around; padding on the left is 0 and adds nothing.
    key = torch.zeros_like(words[..., 0])
    for place in range(words.shape[-1]):
        key = key * 6_364_136_223_846_793_005 + words[..., place]
    return key


def peer(key: Tensor) -> Tensor:
    """(n,) keys → (n,) places, each drawn among the places with the same key, its own included."""
    _, group, count = key.unique(return_inverse=True, return_counts=True)
    order = group.argsort()
    first = count.cumsum(0) - count
    drawn = (torch.rand(len(key), device=key.device) * count[group]).long().clamp(max=count[group] - 1)
    return order[first[group] + drawn]


def span(mask: Tensor, share: float) -> Tensor:
    """(B, H) mask, padded on the left → (B, H): a run of events at a random place.

    The run has ``share`` of the events, at least one.
    """
    length = mask.sum(dim=1, keepdim=True)
    size = (length * share).ceil().clamp(min=1)
    start = (torch.rand(len(mask), 1, device=mask.device) * (length - size + 1)).floor()
    place = mask.cumsum(dim=1) - 1  # (B, H) of an event among those of its sample
    return mask & (place >= start) & (place < start + size)


def reorder(run: Tensor) -> Tensor:
    """(B, H) run → (B, H) places to gather from: a random order within the run, unchanged elsewhere."""
    place = torch.arange(run.shape[1], device=run.device).expand_as(run)
    first = run.int().argmax(dim=1, keepdim=True)
    size = run.sum(dim=1, keepdim=True)
    drawn = first + torch.rand(run.shape, device=run.device) * size * 0.999  # stays below the run's end
    return torch.where(run, drawn, place.to(drawn.dtype)).argsort(dim=1, stable=True)
