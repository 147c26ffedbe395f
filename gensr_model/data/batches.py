"""Batches, built by array indexing without a Python loop over samples."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from gensr_model.data.prepared import IntArray, PreparedDataset, Samples


class Batch(NamedTuple):
    """B samples with C candidates each. Items are indices into ``items``, the M items of the batch."""

    items: Tensor  # (M,) item_idx, distinct except after ``own_positives``
    history: Tensor  # (B, H) oldest first, padded on the left with 0 where the mask is False
    history_mask: Tensor  # (B, H) bool
    behavior: Tensor  # (B, H) 0 recommendation, 1 search
    candidates: Tensor  # (B, C); in training column 0 is the positive
    task: Tensor  # (B,) 0 recommendation, 1 search
    query: Tensor  # (B,) query_idx, -1 for none
    user: Tensor  # (B,)
    history_end: Tensor  # (B,)

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device."""
        return Batch(*(field.to(device, non_blocking=True) for field in self))

    def take(self, rows: Tensor) -> Batch:
        """The samples at ``rows`` (b,), over the same items."""
        return Batch(self.items, *(field[rows] for field in self[1:]))

    def own_positives(self) -> Batch:
        """A copy in which each sample's positive has an entry of its own: B more ``items``, the last ones."""
        positive = self.candidates[:, 0]
        own = torch.arange(len(positive), device=positive.device) + len(self.items)
        return self._replace(
            items=torch.cat([self.items, self.items[positive]]),
            candidates=torch.cat([own.unsqueeze(1), self.candidates[:, 1:]], dim=1),
        )


class Builder(Protocol):
    """Makes a model's batches from samples and candidate lists. A batch has ``to(device)``."""

    max_history: int

    def lengths(self, samples: Samples) -> IntArray:
        """(N,) number of events of each sample in a batch."""
        ...

    def build(self, samples: Samples, candidates: IntArray) -> Any: ...


class BatchBuilder:
    """Makes batches whose histories hold the latest events, at most ``max_history``."""

    def __init__(self, dataset: PreparedDataset, max_history: int) -> None:
        self.events = dataset.events
        self.max_history = max_history

    def lengths(self, samples: Samples) -> IntArray:
        """(N,) events of each sample's history, at most ``max_history``."""
        return np.minimum(samples.history_end - samples.history_start, self.max_history)

    def build(self, samples: Samples, candidates: IntArray) -> Batch:
        """A batch of ``samples`` (B) with ``candidates`` (B, C) item_idx."""
        longest = int(np.max(samples.history_end - samples.history_start, initial=1))
        width = max(1, min(self.max_history, longest))
        position = samples.history_end[:, None] - np.arange(width, 0, -1)  # (B, H)
        mask = position >= samples.history_start[:, None]
        position = np.where(mask, position, 0)
        history = np.where(mask, self.events.item[position], candidates[:, :1])
        items, inverse = np.unique(np.concatenate([history, candidates], axis=1), return_inverse=True)
        inverse = inverse.reshape(len(samples), -1)
        return Batch(
            items=torch.from_numpy(items),
            history=torch.from_numpy(np.where(mask, inverse[:, :width], 0)),
            history_mask=torch.from_numpy(mask),
            behavior=torch.from_numpy(np.where(mask, self.events.behavior[position], 0)),
            candidates=torch.from_numpy(inverse[:, width:].copy()),
            task=torch.from_numpy(samples.task.copy()),
            query=torch.from_numpy(samples.query.copy()),
            user=torch.from_numpy(samples.user.copy()),
            history_end=torch.from_numpy(samples.history_end.copy()),
        )


POOL = 32  # batches that are sorted together; more give less padding and a less random order


def order_by_length(lengths: IntArray, batch_size: int, rng: np.random.Generator) -> IntArray:
    """One epoch's rows (N,) in batch order: each row once, rows of similar length in one batch.

    Rows are shuffled and cut into pools of ``POOL`` batches. Each pool is sorted by length and cut into batches. Then
    the batches are shuffled. The rows of a smaller last batch come from all lengths. Rows are shuffled within their
    batch, so that processes that share a batch get similar lengths.
    """
    drawn = rng.permutation(len(lengths))
    whole = len(drawn) // batch_size * batch_size
    pool = np.arange(whole) // (POOL * batch_size)
    places = np.lexsort((lengths[drawn[:whole]], pool)).reshape(-1, batch_size)  # (batches, B) into ``drawn``
    batches = rng.permuted(places, axis=1)[rng.permutation(len(places))]
    return np.concatenate([drawn[batches.ravel()], drawn[whole:]])


class NegativeSampler:
    """Uniform training negatives from the items that a user has not met in training.

    Held-out targets stay possible negatives: leaving them out would mark them.
    """

    def __init__(self, dataset: PreparedDataset, train: Samples) -> None:
        self.n_items = dataset.n_items
        self.met = np.unique(train.user * self.n_items + train.item)  # sorted keys

    def draw(self, user: IntArray, count: int, rng: np.random.Generator) -> IntArray:
        """(B, count) item_idx. A user who met everything gets repeated draws after 50 tries."""
        drawn = rng.integers(self.n_items, size=(len(user), count))
        for _ in range(50):
            key = user[:, None] * self.n_items + drawn
            place = np.minimum(np.searchsorted(self.met, key), len(self.met) - 1)
            known = self.met[place] == key
            if not known.any():
                break
            drawn[known] = rng.integers(self.n_items, size=int(known.sum()))
        return drawn
