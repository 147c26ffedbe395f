"""The collaborative filtering table ℰ (§5.1.1, footnote 2): the file from pretraining, and a model's copy."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from gensr_model.models import fold_tables
from gensr_model.models.fold_tables import FoldTables, OwnFold
from gensr_model.models.item_vectors import ItemVectors, ReadBatch
from gensr_model.runtime.files import read_tensors

FILE = "lightgcn.safetensors"


class CFEmbeddings(NamedTuple):
    """Propagated embeddings: user (U, d), item (I, d), item_has_edges (I,) bool."""

    user: Tensor
    item: Tensor
    item_has_edges: Tensor


class NodeVectors(NamedTuple):
    """Vectors of all users, then of all items, (U + I, d), each kind at unit scale.

    ``has_edges`` (U + I,) tells which nodes have an edge.
    """

    vectors: Tensor
    has_edges: Tensor


def load(folder: Path) -> CFEmbeddings:
    """Read the embeddings from the folder of a pretraining."""
    return CFEmbeddings(**read_tensors(folder / FILE))


class CFTable(nn.Module):
    """Item vectors e_i of a pre-trained table. Items without a training edge share one learned vector.

    Args:
        table: (I, d) item embeddings.
        known: (I,) bool, False for cold items.
        freeze: keep the table fixed; only the cold vector learns.
        folds: tables that training reads in place of ``table`` (departure AL).
    """

    def __init__(self, table: Tensor, known: Tensor, freeze: bool = True, folds: FoldTables | None = None) -> None:
        super().__init__()
        self.table = nn.Parameter(table.clone(), requires_grad=not freeze)
        self.known: Tensor
        self.register_buffer("known", known.clone())
        self.cold = nn.Parameter(torch.zeros(table.shape[1]))
        self.own_fold = None if folds is None else OwnFold(folds)

    def forward(self, items: Tensor, cold: Tensor | None = None) -> Tensor:
        """(M,) item ids → (M, d). Items that are unknown, or True in ``cold`` (M,), get the cold vector."""
        known = self.known[items] if cold is None else self.known[items] & ~cold
        return torch.where(known.unsqueeze(-1), self.table[items], self.cold)

    def for_batch(self, read: ReadBatch) -> ItemVectors:
        """Vectors of a batch's items."""
        if self.training and self.own_fold is not None:
            vectors: ItemVectors = self.own_fold(read, self.cold)
            return vectors
        return ItemVectors(self(read.batch.items, read.cold))

    @property
    def dim(self) -> int:
        """d of the table."""
        return self.table.shape[1]

    def select(self, rows: Tensor) -> None:
        """Switch to another catalogue: item i takes row ``rows[i]``, or the cold vector where that is -1."""
        chosen = rows.clamp(min=0)
        self.known = self.known[chosen] & (rows >= 0)
        self.table = nn.Parameter(self.table.data[chosen], requires_grad=self.table.requires_grad)


def table_of(folder: Path, *, folds: int, freeze: bool) -> CFTable:
    """The CF table in a pretraining's folder at unit scale, with its fold tables (``fold_tables.load``)."""
    common, tables = load(folder), fold_tables.load(folder, folds)
    if tables is not None:
        scaled = [unit_scale(item, known) for item, known in zip(*tables, strict=True)]
        tables = tables._replace(item=torch.stack(scaled))
    return CFTable(unit_scale(common.item, common.item_has_edges), common.item_has_edges, freeze, tables)


def unit_scale(table: Tensor, known: Tensor) -> Tensor:
    """The table at unit root mean square over its known rows, so that its scale acts as no hidden temperature."""
    if not bool(known.any()):
        return table
    return table / table[known].pow(2).mean().sqrt().clamp(min=1e-12)
