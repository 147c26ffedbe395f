"""Inputs of a baseline besides the dataset (``Baseline.needs``), read from the folder of the stage that makes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gensr_model.data.prepared import PreparedDataset
from gensr_model.errors import DataError
from gensr_model.models import cf_tables
from gensr_model.models.cf_tables import NodeVectors
from gensr_model.semantic_ids.codes import read_codes


def read_cf(folder: Path, dataset: PreparedDataset) -> NodeVectors:
    """The CF table in a pretraining's folder. Raises DataError where its graph has no edge."""
    table = cf_tables.load(folder)
    if not bool(table.item_has_edges.any()):
        raise DataError(
            f"{folder}: the graph of this CF table has no edge, so the table holds nothing about "
            "users or items. Prepare data with recommendation events in training, or leave out the "
            "baselines that need `cf`."
        )
    user_has_edges = torch.zeros(dataset.n_users, dtype=torch.bool)
    user_has_edges[torch.from_numpy(dataset.graph()[0])] = True
    kinds = ((table.user, user_has_edges), (table.item, table.item_has_edges))
    vectors = torch.cat([cf_tables.unit_scale(*kind) for kind in kinds])
    return NodeVectors(vectors, torch.cat([known for _, known in kinds]))


def read_item_codes(folder: Path, dataset: PreparedDataset) -> Tensor:
    """(I, L) the codes in a folder of semantic ids. Raises DataError as ``read_codes`` does."""
    return torch.from_numpy(read_codes(folder, dataset))


# A name in ``Baseline.needs`` -> the value that ``Baseline.receive`` takes.
READERS: dict[str, Callable[[Path, PreparedDataset], Any]] = {"cf": read_cf, "codes": read_item_codes}
