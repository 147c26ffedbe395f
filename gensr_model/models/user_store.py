"""A bundle's data for serving by user id and over its whole catalogue: latest histories, vectors, popularity."""

from __future__ import annotations

import bisect
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from torch import Tensor

from gensr_model.data.prepared import IntArray, PreparedDataset
from gensr_model.errors import DataError
from gensr_model.models import cf_tables
from gensr_model.runtime.files import read_tensors, write_tensors

USERS, RETRIEVAL = "users.parquet", "retrieval.safetensors"


class Known(NamedTuple):
    """A bundle's data of one user: item_idx oldest first, their behaviors, and the LightGCN vector (d,) or None."""

    history: IntArray  # (H,)
    behavior: IntArray  # (H,) 0 recommendation, 1 search
    vector: Tensor | None  # None: no edge in the training graph


def save(out: Path, dataset: PreparedDataset, cf_folder: Path, max_history: int) -> None:
    """Write both files into a bundle's folder.

    Histories hold every split, because serving starts after the last event. Users are sorted by raw id, as are the rows
    of ``user``. Vectors have half precision: they only choose candidates.
    """
    users = dataset.table("users")
    raw = users["raw_id"].combine_chunks().cast(pa.string())
    order = pc.sort_indices(raw).to_numpy()
    user_idx = users["user_idx"].to_numpy().astype(np.int64)[order]
    end = dataset.user_start[user_idx + 1]
    length = np.minimum(end - dataset.user_start[user_idx], max_history)
    offsets = np.concatenate([[0], np.cumsum(length)])
    event = np.arange(offsets[-1]) - np.repeat(offsets[1:] - end, length)
    lists = pa.array(offsets, pa.int32())
    table = pa.table(
        {
            "raw_id": raw.take(pa.array(order)),
            "item_idx": pa.ListArray.from_arrays(lists, pa.array(dataset.events.item[event], pa.int32())),
            "behavior": pa.ListArray.from_arrays(lists, pa.array(dataset.events.behavior[event], pa.int8())),
        }
    )
    pq.write_table(table, out / USERS)
    cf = cf_tables.load(cf_folder)
    graph_user, graph_item = dataset.graph()
    bought = torch.from_numpy(np.bincount(graph_item, minlength=dataset.n_items).astype(np.int32))
    has_edges = torch.from_numpy(np.bincount(graph_user, minlength=dataset.n_users) > 0)
    users_by_id = torch.from_numpy(user_idx)
    vectors = {
        "user": (cf.user * has_edges.unsqueeze(1))[users_by_id].half(),  # (U, d), 0: no edge
        "item": (cf.item * cf.item_has_edges.unsqueeze(1)).half(),  # (I, d), 0: no edge
        "bought": bought,  # (I,) distinct training users
    }
    write_tensors(out / RETRIEVAL, vectors)


class Store:
    """Read access to both files of a bundle."""

    def __init__(self, folder: Path) -> None:
        missing = [name for name in (USERS, RETRIEVAL) if not (folder / name).is_file()]
        if missing:
            raise DataError(f"{folder}: no {' and no '.join(missing)}, which serving needs. Train the model again.")
        table = pq.read_table(folder / USERS)
        self._raw, self._item, self._behavior = (column.combine_chunks() for column in table.columns)
        tensors = read_tensors(folder / RETRIEVAL)
        self._user = tensors["user"]
        self.item, self.bought = tensors["item"].float(), tensors["bought"]

    def __len__(self) -> int:
        return len(self._raw)

    def user(self, raw_id: str) -> Known | None:
        """The data of a user. None for a user whom training has not seen."""
        row = bisect.bisect_left(range(len(self)), raw_id, key=lambda row: self._raw[row].as_py())
        if row == len(self) or self._raw[row].as_py() != raw_id:
            return None
        vector = self._user[row].float()
        history, behavior = (column[row].values.to_numpy().astype(np.int64) for column in (self._item, self._behavior))
        return Known(history, behavior, vector if bool(vector.any()) else None)
