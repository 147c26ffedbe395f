"""Departure AL (docs/reference/paper_to_code.md): CF tables that were trained without one fold of the purchases."""

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
    """The tables of so many folds in a pretraining's folder; None for 0.

    Raises:
        DataError: the folder has none, or of another number of folds.
    """
    if not folds:
        return None
    tables = FoldTables(**read_tensors(folder / FILE)) if (folder / FILE).is_file() else None
    if tables is None or len(tables.item) != folds:
        there = "no tables of folds" if tables is None else f"tables of {len(tables.item)} folds"
        raise DataError(
            f"{folder}: {there}, and model.departures.folds is {folds}. Pretrain with this configuration, or set it to "
            f"{0 if tables is None else len(tables.item)}."
        )
    return tables


class OwnFold(nn.Module):
    """Reads each training sample's items from the table that has not seen its purchase. No table is saved."""

    def __init__(self, tables: FoldTables) -> None:
        super().__init__()
        self.table: Tensor
        self.known: Tensor
        self.register_buffer("table", tables.item, persistent=False)
        self.register_buffer("known", tables.item_has_edges, persistent=False)

    def forward(self, read: ReadBatch, cold_vector: Tensor) -> ItemVectors:
        """The M items of the batch in each of K tables, and for each sample the row where its fold's begin.

        Args:
            cold_vector: (d,) of an item without an edge in a table, and of one that stands as cold.
        """
        batch, (folds, _) = read.batch, self.known.shape
        known = self.known[:, batch.items]  # (K, M)
        if read.cold is not None:
            known = known & ~read.cold
        vectors = torch.where(known.unsqueeze(-1), self.table[:, batch.items], cold_vector)  # (K, M, d)
        fold = fold_of(batch.user, batch.items[batch.candidates[:, 0]], folds)
        return ItemVectors(vectors.flatten(0, 1), (fold * len(batch.items)).unsqueeze(1))
