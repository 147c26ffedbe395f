"""Departure AL (docs/reference/beyond_the_paper.md): CF tables trained without one fold of the purchases."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from gensr_model.data.folds import fold_of
from gensr_model.errors import DataError
from gensr_model.models.item_vectors import ItemVectors, ReadBatch
from gensr_model.runtime.files import read_tensors

FILE = "folds.safetensors"


class FoldTables(NamedTuple):
    """The item table of each fold's LightGCN, (K, I, d), and which items had an edge there, (K, I)."""

    item: Tensor
    item_has_edges: Tensor


def load(folder: Path, folds: int) -> FoldTables | None:
    """The fold tables in a pretraining's folder. None for 0 folds.

    Raises:
        DataError: the folder has no fold tables, or another number of folds.
    """
    if not folds:
        return None
    tables = FoldTables(**read_tensors(folder / FILE)) if (folder / FILE).is_file() else None
    if tables is None or len(tables.item) != folds:
        there = "no tables of folds" if tables is None else f"tables of {len(tables.item)} folds"
        raise DataError(
            f"{folder}: {there}, but model.departures.folds is {folds}. Pretrain with this "
            "configuration, or set model.departures.folds to "
            f"{0 if tables is None else len(tables.item)}."
        )
    return tables


class OwnFold(nn.Module):
    """Reads each training sample's items from the fold table that has not seen its purchase. Bundles leave it out."""

    def __init__(self, tables: FoldTables) -> None:
        super().__init__()
        self.table: Tensor
        self.known: Tensor
        self.register_buffer("table", tables.item, persistent=False)
        self.register_buffer("known", tables.item_has_edges, persistent=False)

    def forward(self, read: ReadBatch, cold_vector: Tensor) -> ItemVectors:
        """Vectors of the batch's M items in each of K tables, and the first row of each sample's table.

        Args:
            cold_vector: (d,) vector of items that are cold or have no edge in a table.
        """
        batch, (folds, _) = read.batch, self.known.shape
        known = self.known[:, batch.items]  # (K, M)
        if read.cold is not None:
            known = known & ~read.cold
        vectors = torch.where(known.unsqueeze(-1), self.table[:, batch.items], cold_vector)  # (K, M, d)
        fold = fold_of(batch.user, batch.items[batch.candidates[:, 0]], folds)
        return ItemVectors(vectors.flatten(0, 1), (fold * len(batch.items)).unsqueeze(1))
