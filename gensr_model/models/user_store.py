"""A bundle's data for serving by user id and over its whole catalogue: histories, vectors, popularity."""

from __future__ import annotations

import bisect
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
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
EARLIER = "earlier"  # column of users.parquet


class Known(NamedTuple):
    """A bundle's data of one user."""

    history: IntArray  # (H,) item_idx of the latest events, oldest first
    behavior: IntArray  # (H,) 0 recommendation, 1 search
    earlier: IntArray  # (E,) distinct item_idx of older events that are not in the history
    vector: Tensor | None  # (d,) of LightGCN; None: no edge in the training graph


class Histories(NamedTuple):
    """The histories of N users, each at the end of its row."""

    item: IntArray  # (N, H) item_idx, oldest first, 0 at padding
    behavior: IntArray  # (N, H) 0 recommendation, 1 search
    mask: npt.NDArray[np.bool_]  # (N, H) True at events

    def take(self, rows: npt.NDArray[np.bool_]) -> Histories:
        """Those where ``rows`` (N,) is True."""
        return Histories(self.item[rows], self.behavior[rows], self.mask[rows])


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
            EARLIER: _earlier(dataset, user_idx, end - length, np.repeat(np.arange(len(length)), length), event),
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


def _earlier(
    dataset: PreparedDataset, user_idx: IntArray, end: IntArray, row: IntArray, event: IntArray
) -> pa.ListArray:
    """For each user the distinct items of the events before ``end`` that are not among the history's events.

    Args:
        row, event: (E,) each event of a history with the row of its user.
    """
    start, items = dataset.user_start[user_idx], dataset.n_items
    counts = end - start
    older = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - end, counts)
    keys = np.repeat(np.arange(len(counts)), counts) * items + dataset.events.item[older]
    keys = np.setdiff1d(keys, row * items + dataset.events.item[event])
    offsets = np.searchsorted(keys, np.arange(len(counts) + 1) * items)
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(keys % items, pa.int32()))


class Store:
    """Read access to both files of a bundle. A bundle of an earlier version has no items in ``earlier``."""

    def __init__(self, folder: Path) -> None:
        missing = [name for name in (USERS, RETRIEVAL) if not (folder / name).is_file()]
        if missing:
            raise DataError(f"{folder}: no {' and no '.join(missing)}, which serving needs. Train the model again.")
        table = pq.read_table(folder / USERS)
        if EARLIER not in table.column_names:
            none = pa.ListArray.from_arrays(pa.array(np.zeros(len(table) + 1), pa.int32()), pa.array([], pa.int32()))
            table = table.append_column(EARLIER, none)
        columns = (table[name].combine_chunks() for name in ("raw_id", "item_idx", "behavior", EARLIER))
        self._raw, self._item, self._behavior, self._earlier = columns
        tensors = read_tensors(folder / RETRIEVAL)
        self._user = tensors["user"]
        self.item, self.bought = tensors["item"].float(), tensors["bought"]

    def __len__(self) -> int:
        return len(self._raw)

    def user(self, raw_id: str) -> Known | None:
        """The data of a user. None for a user whom training has not seen."""
        row = self._first(raw_id)
        if row == len(self) or self._raw[row].as_py() != raw_id:
            return None
        vector = self._user[row].float()
        columns = (self._item, self._behavior, self._earlier)
        history, behavior, earlier = (column[row].values.to_numpy().astype(np.int64) for column in columns)
        return Known(history, behavior, earlier, vector if bool(vector.any()) else None)

    @property
    def user_ids(self) -> pa.Array:
        """(U,) raw ids of all users, sorted."""
        return self._raw

    def rows(self, raw_ids: pa.Array) -> IntArray:
        """(N,) the row of each user, −1 for a user whom training has not seen."""
        rows: IntArray = pc.fill_null(pc.index_in(raw_ids, value_set=self._raw), -1).to_numpy().astype(np.int64)
        return rows

    def lengths(self, rows: IntArray) -> IntArray:
        """(N,) number of events in each history; 0 for row −1."""
        return np.where(rows < 0, 0, np.diff(self._item.offsets.to_numpy())[rows])

    def histories(self, rows: IntArray) -> Histories:
        """The histories of N rows. That of row −1 is empty."""
        lengths = self.lengths(rows)
        width = int(lengths.max(initial=0))
        end = self._item.offsets.to_numpy()[1:][rows]
        place = end[:, None] - np.arange(width, 0, -1)  # (N, H)
        mask = np.arange(width, 0, -1) <= lengths[:, None]
        item, behavior = (
            np.where(mask, column.values.to_numpy()[np.where(mask, place, 0)], 0).astype(np.int64)
            for column in (self._item, self._behavior)
        )
        return Histories(item, behavior, mask)

    def earlier(self, rows: IntArray) -> tuple[IntArray, IntArray]:
        """(E,) places in ``rows`` and item_idx of the items that these users met before their histories."""
        offsets = self._earlier.offsets.to_numpy().astype(np.int64)
        counts = np.where(rows < 0, 0, np.diff(offsets)[rows])
        owner = np.repeat(np.arange(len(rows)), counts)
        place = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts - offsets[rows], counts)
        return owner, self._earlier.values.to_numpy()[place].astype(np.int64)

    def users(self, prefix: str, limit: int) -> list[str]:
        """The first ``limit`` user ids that begin with ``prefix``, in their order."""
        row = self._first(prefix)
        found: list[str] = self._raw[row : row + limit].to_pylist()
        return [raw_id for raw_id in found if raw_id.startswith(prefix)]

    def _first(self, raw_id: str) -> int:
        """The row of the first user whose id is not before ``raw_id``."""
        return bisect.bisect_left(range(len(self)), raw_id, key=lambda row: self._raw[row].as_py())
