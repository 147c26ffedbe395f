"""The batch as a model reads it, and the vectors of its items."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gensr_model.data.batches import Batch


class ReadBatch(NamedTuple):
    """A batch as a model reads it. In evaluation nothing is cold or left out."""

    batch: Batch
    cold: Tensor | None = None  # (M,) which of the batch's items are read as new items that nobody has met
    left_out: Tensor | None = None  # (B,) query whose words are left out of the last B items, the positives

    @staticmethod
    def of_items(items: Tensor) -> ReadBatch:
        """Items (M,) without samples."""
        none = items.new_zeros(0)
        return ReadBatch(Batch(items, *(none for _ in Batch._fields[1:])))


class ItemVectors(NamedTuple):
    """Vectors of a batch's M items."""

    rows: Tensor  # (M, d); (K · M, d), fold by fold, in training with K folds
    first: Tensor | int = 0  # (B, 1) the row at which each sample's items begin

    def at(self, places: Tensor) -> Tensor:
        """(B, n) indices into the batch's items → (B, n, d)."""
        return self.rows[places + self.first]

    def products(self, wanted: Tensor, start: int, stop: int) -> Tensor:
        """(B, stop − start) products of ``wanted`` (B, d) with the vectors of the items at these places."""
        if isinstance(self.first, int):
            return wanted @ self.rows[self.first + start : self.first + stop].T
        parts, order = [], []
        for first in torch.unique(self.first).tolist():
            samples = torch.nonzero(self.first.squeeze(1) == first).squeeze(1)
            parts.append(wanted[samples] @ self.rows[first + start : first + stop].T)
            order.append(samples)
        return torch.cat(parts)[torch.argsort(torch.cat(order))]
