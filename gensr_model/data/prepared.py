"""The prepared dataset: the folder that training, ranking and analyses read."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gensr_model.config.base import SHOWN, TASKS, Protocol, Split, Task
from gensr_model.errors import DataError

SCHEMA_VERSION = 1
IntArray = NDArray[np.int64]
BEHAVIORS = ("rec", "src")  # index = Events.behavior


class Events(NamedTuple):
    """Engaged events, each array (E,), sorted by user and time. The position in the arrays is the event's number."""

    user: IntArray
    item: IntArray
    behavior: IntArray  # 0 recommendation, 1 search
    query: IntArray  # -1: none


@dataclass(frozen=True)
class Samples:
    """Positives of one split, each array (N,). A history is ``events[history_start:history_end]``."""

    sample_id: NDArray[np.object_]
    task: IntArray  # index into config.TASKS
    user: IntArray
    item: IntArray
    query: IntArray  # -1: none
    history_start: IntArray
    history_end: IntArray

    def __len__(self) -> int:
        return len(self.task)

    @property
    def task_names(self) -> NDArray[np.object_]:
        """(N,) the task of each sample by name."""
        return np.array(TASKS, dtype=object)[self.task]

    def rows_of_tasks(self, tasks: Collection[Task]) -> IntArray:
        """Rows of the samples of these tasks."""
        return np.flatnonzero(np.isin(self.task, [TASKS.index(task) for task in tasks]))

    def take(self, rows: NDArray[Any]) -> Samples:
        """The samples at ``rows`` (indices or a mask)."""
        return Samples(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})


def _ints(column: pa.ChunkedArray, null: int | None = None) -> IntArray:
    if null is not None:
        column = pc.fill_null(column, null)
    return column.to_numpy().astype(np.int64)


@dataclass(frozen=True)
class PreparedDataset:
    """Read access to one prepared folder. Tables are read at their first use."""

    folder: Path
    manifest: dict[str, Any]

    @staticmethod
    def open(folder: Path | str) -> PreparedDataset:
        """Open a complete folder. Raises DataError for another folder and for another schema version."""
        folder = Path(folder)
        manifest = folder / "manifest.json"
        if not manifest.is_file():
            raise DataError(f"{folder} has no manifest.json, so it is no complete prepared dataset. Run prepare again.")
        content = json.loads(manifest.read_text(encoding="utf-8"))
        if content.get("schema_version") != SCHEMA_VERSION:
            raise DataError(
                f"{manifest}: schema_version is {content.get('schema_version')}, but this code reads "
                f"{SCHEMA_VERSION}. Run prepare again."
            )
        return PreparedDataset(folder, content)

    def table(self, name: str) -> pa.Table:
        """One whole Parquet table of the folder."""
        return pq.read_table(self.folder / f"{name}.parquet")

    @cached_property
    def items(self) -> pa.Table:
        """``items.parquet`` in the order of item_idx."""
        return self.table("items")

    @cached_property
    def queries(self) -> list[str]:
        """Query texts by query_idx."""
        return self.table("queries")["text"].to_pylist()

    @property
    def n_items(self) -> int:
        return self.items.num_rows

    @property
    def n_queries(self) -> int:
        return len(self.queries)

    @cached_property
    def n_users(self) -> int:
        return pq.read_metadata(self.folder / "users.parquet").num_rows

    @cached_property
    def events(self) -> Events:
        """All engaged events."""
        table = self.table("events")
        behavior = pc.equal(table["behavior"], "src").cast(pa.int64())
        return Events(
            user=_ints(table["user_idx"]),
            item=_ints(table["item_idx"]),
            behavior=_ints(behavior),
            query=_ints(table["query_idx"], null=-1),
        )

    @cached_property
    def user_start(self) -> IntArray:
        """(U+1,) number of the first event of each user."""
        return np.searchsorted(self.events.user, np.arange(self.n_users + 1)).astype(np.int64)

    def samples(self, split: Split) -> Samples:
        """The positives of a split, in the order of its file."""
        table = self.table(f"samples_{split}")
        user = _ints(table["user_idx"])
        return Samples(
            sample_id=table["sample_id"].to_numpy(),
            task=_ints(pc.equal(table["task"], TASKS[1]).cast(pa.int64())),
            user=user,
            item=_ints(table["item_idx"]),
            query=_ints(table["query_idx"], null=-1),
            history_start=self.user_start[user],
            history_end=_ints(table["history_end"]),
        )

    def evaluated(self, split: Split, protocol: Protocol = "uniform") -> tuple[Samples, IntArray]:
        """The samples (N) of a split that a protocol draws candidates for, and their frozen negatives (N, C).

        A task without lists is left out: bm25 has none for recommendation. Of the protocol ``shown``, samples without
        impressions are left out too, and a list with fewer than C negatives ends in −1.

        Raises:
            DataError: no sample has a list, or only some samples of a task have one.
        """
        every = self.samples(split)
        place, lists = self._lists(split, protocol)
        served = place >= 0 if protocol == SHOWN else np.isin(every.task, every.task[place >= 0])
        missing = int((place[served] < 0).sum()) if served.any() else len(every)
        if missing or not len(every):
            raise DataError(
                f"{self.folder}: {missing} samples of {split} have no {protocol!r} candidates. Add "
                f"{protocol!r} to prepare.protocols and prepare again."
            )
        rows = np.flatnonzero(served)
        return every.take(rows), lists[place[rows]]

    def _lists(self, split: Split, protocol: Protocol) -> tuple[IntArray, IntArray]:
        """(N,) for each sample of the split the row of its list, -1 for none; and the protocol's lists (L, C)."""
        table = self.table(f"candidates_{split}")
        table = table.filter(pc.equal(table["protocol"], protocol))
        ids = self.table(f"samples_{split}")["sample_id"]
        place = pc.index_in(ids, value_set=table["sample_id"].combine_chunks())
        stored = table["item_idx"].combine_chunks()
        length = stored.value_lengths().to_numpy(zero_copy_only=False).astype(np.int64)
        lists = np.full((len(length), int(length.max(initial=0))), -1, np.int64)
        lists[np.arange(lists.shape[1]) < length[:, None]] = stored.flatten().to_numpy()
        return _ints(place, null=-1), lists

    def graph(self) -> tuple[IntArray, IntArray]:
        """Users and items, each (P,), of the distinct training pairs that LightGCN may read."""
        table = self.table("graph")
        return _ints(table["user_idx"]), _ints(table["item_idx"])


def ranked_lists(samples: Samples, negatives: IntArray) -> tuple[IntArray, IntArray]:
    """Lists to rank (N, 1 + C), each with its positive in column 0, and their lengths (N,).

    A list with fewer than C negatives is filled up with its positive, which a model scores and no rank counts.
    """
    positive = samples.item[:, None]
    lists = np.concatenate([positive, np.where(negatives < 0, positive, negatives)], axis=1)
    return lists, 1 + (negatives >= 0).sum(axis=1)
