"""Ranges of users on a cluster: raw rows are divided by user, and each range reads and filters its own.

Every function that runs on a worker makes a folder under a temporary name and renames it, so a second try is the first.
"""

from __future__ import annotations

import bisect
import functools
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gensr_model.config.data import PrepareConfig
from gensr_model.config.pipeline import PipelineConfig
from tasks.core.cluster import Cluster, published
from tasks.core.dataset_format import dataset_format
from tasks.core.sql_runner import connect, open_parquet, run, to_arrow
from tasks.prepare import schemas as files

PER_PLACE = 2  # ranges for each place of the cluster, or more where they
LARGEST = 20_000_000  # would have more raw rows
_PIECE = 2_000_000  # raw rows that a worker divides at once
_LOOKED_AT = 64  # row groups that say where ranges end
# Tables of a range that are written where a format makes them.
_MADE = ("interactions", "shown", "engaged_lists")
Read = Callable[[duckdb.DuckDBPyConnection, PipelineConfig, dict[str, Any]], None]


class Groups(NamedTuple):
    """Row groups of a raw table, the first of whose rows has a number in the table."""

    table: str
    groups: tuple[int, ...]
    first_row: int
    folder: Path


class UserRanges:
    """``interactions`` in one file per range of users. ``con`` has it as a view until ``finish``."""

    def __init__(self, cluster: Cluster, con: duckdb.DuckDBPyConnection, config: PrepareConfig, folder: Path) -> None:
        self.con, self._cluster, self._config = con, cluster, config
        self._scratch, self._rare = folder.parent, folder.parent / "rare_items.parquet"
        self._rounds = 0
        self._see(sorted(folder.iterdir(), key=lambda part: int(part.stem)))

    def _see(self, ranges: Sequence[Path]) -> None:
        self._ranges = ranges
        open_parquet(self.con, [part / "interactions.parquet" for part in ranges]).create_view("interactions", True)

    @classmethod
    def of_table(
        cls, cluster: Cluster, con: duckdb.DuckDBPyConnection, config: PipelineConfig, scratch: Path
    ) -> UserRanges:
        """The ranges of the table ``interactions`` of ``con``, which becomes a view."""
        users = to_arrow(con, "prepared/some_users")["user"].to_pylist()
        divided = scratch / "ranges"
        cuts = cuts_of(users, _number(cluster, con.table("interactions").shape[0]))
        divide(files.rows_of(con, "prepared/every_interaction"), cuts, divided, "interactions")
        con.execute("drop table interactions")
        return cls(cluster, con, config.prepare, divided)

    @classmethod
    def of_raw(
        cls,
        cluster: Cluster,
        con: duckdb.DuckDBPyConnection,
        config: PipelineConfig,
        scratch: Path,
        raw: Path,
        read: Read,
        counts: dict[str, Any],
    ) -> UserRanges:
        """The ranges that ``read`` makes of the users' raw rows, with the sums of their counts in ``counts``."""
        tables = dataset_format(config.format).preparing.by_user
        pieces = [piece for table in tables for piece in _pieces(raw / f"{table}.parquet", scratch / "divided")]
        rows = sum(pq.read_metadata(raw / f"{table}.parquet").num_rows for table in tables)
        users = [user for table in tables for user in _some_users(raw / f"{table}.parquet")]
        cuts = cuts_of(users, _number(cluster, rows))
        for _ in cluster.map(functools.partial(_divide, raw, cuts), pieces):
            pass
        work = functools.partial(_read, config, raw, pieces, read, scratch / "ranges")
        total = Counter[tuple[str, str]]()
        for found in cluster.map(work, range(len(cuts) + 1)):
            total.update(found)
        shutil.rmtree(scratch / "divided")
        for (name, field), count in total.items():
            if field:
                counts.setdefault(name, {})[field] = count
            else:
                counts[name] = count
        made = [path.stem for path in (scratch / "ranges" / "0").iterdir() if path.stem != "interactions"]
        for table in made:
            parts = [scratch / "ranges" / str(n) / f"{table}.parquet" for n in range(len(cuts) + 1)]
            open_parquet(con, parts).create(table)
        return cls(cluster, con, config.prepare, scratch / "ranges")

    def step(self, name: str | None = None, params: dict[str, Any] | None = None) -> dict[str, int]:
        self._rounds += 1
        folder = self._scratch / f"round-{self._rounds}"
        rare = self._rare if self._rare.is_file() else None
        work = functools.partial(_step, self._config, name, params, rare, folder)
        sizes = list(self._cluster.map(work, self._ranges))
        before, ranges = self._ranges[0].parent, [folder / part.name for part in self._ranges]
        open_parquet(self.con, [part / "item_counts.parquet" for part in ranges]).create_view("item_counts", True)
        self._see(ranges)
        shutil.rmtree(before)
        items = files.one_row(self.con, "prepared/distinct_items")
        return {"users": sum(users for users, _ in sizes), **items, "interactions": sum(rows for _, rows in sizes)}

    def rare_items(self, k: int) -> None:
        run(self.con, "prepared/rare_items", {"k": k})
        self.con.table("rare_items").write_parquet(str(self._rare), compression="zstd")

    def finish(self) -> None:
        self.con.execute("drop view interactions")
        open_parquet(self.con, [part / "interactions.parquet" for part in self._ranges]).create("interactions")
        self.con.execute("drop view item_counts")
        shutil.rmtree(self._ranges[0].parent)


def _number(cluster: Cluster, rows: int) -> int:
    return max(PER_PLACE * cluster.places, -(-rows // LARGEST))


def cuts_of(users: list[str], ranges: int) -> list[str]:
    """The users at which ranges after the first begin, from a sample: fewer where few users have most rows."""
    users = sorted(users)
    return sorted({users[len(users) * n // ranges] for n in range(1, ranges)} - {users[0]}) if users else []


def _some_users(path: Path) -> list[str]:
    with pq.ParquetFile(path) as file:
        every = -(-file.num_row_groups // _LOOKED_AT)
        groups = list(range(0, file.num_row_groups, every)) if every else []
        users = file.read_row_groups(groups, columns=["user"])["user"].drop_null()
    return [str(user) for user in users.take(np.arange(0, len(users), 1 + len(users) // 100_000)).to_pylist()]


def _pieces(path: Path, folder: Path) -> Iterator[Groups]:
    """Neighbouring row groups, in pieces of about ``_PIECE`` rows."""
    data = pq.read_metadata(path)
    sizes = [data.row_group(n).num_rows for n in range(data.num_row_groups)]
    first, groups, rows = 0, list[int](), 0
    for group, size in enumerate(sizes):
        groups.append(group)
        rows += size
        if rows >= _PIECE or group == len(sizes) - 1:
            yield Groups(path.stem, tuple(groups), first, folder / f"{path.stem}-{groups[0]}")
            first, groups, rows = first + rows, [], 0


def divide(tables: Iterator[pa.RecordBatch], cuts: list[str], folder: Path, name: str) -> None:
    """Write rows to ``folder/<range>/<name>.parquet`` by their ``user``. Rows without a user are in the first range."""
    writers: dict[int, pq.ParquetWriter] = {}
    for batch in tables:
        users = pc.dictionary_encode(batch["user"])
        ranges = pa.array([bisect.bisect_right(cuts, user) for user in users.dictionary.to_pylist()], pa.int32())
        place = pc.fill_null(ranges.take(users.indices), 0)
        for number in range(len(cuts) + 1):
            part = batch.filter(pc.equal(place, number))
            if number not in writers:
                (folder / str(number)).mkdir(parents=True, exist_ok=True)
                path = folder / str(number) / f"{name}.parquet"
                writers[number] = pq.ParquetWriter(path, batch.schema, compression="zstd")
            if len(part):
                writers[number].write_batch(part)
    for writer in writers.values():
        writer.close()


def _divide(raw: Path, cuts: list[str], piece: Groups) -> None:
    """Divide some row groups of a raw table."""

    def rows() -> Iterator[pa.RecordBatch]:
        first = piece.first_row
        with pq.ParquetFile(raw / f"{piece.table}.parquet") as file:
            for group in piece.groups:
                for batch in file.read_row_group(group).to_batches():
                    numbers = pa.array(np.arange(first, first + len(batch), dtype=np.int64))
                    yield batch.append_column("file_row_number", numbers)
                    first += len(batch)

    with published(piece.folder) as aside:
        divide(rows(), cuts, aside, piece.table)


def _read(
    config: PipelineConfig, raw: Path, pieces: list[Groups], read: Read, out: Path, number: int
) -> dict[tuple[str, str], int]:
    """Write the tables of a range of users. Returns its counts, flat."""
    preparing = dataset_format(config.format).preparing
    counts: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temp, connect(config.prepare, Path(temp)) as con:
        for table in preparing.tables:
            whole = open_parquet(con, raw / f"{table}.parquet", file_row_number=True)
            if table in preparing.by_user:
                parts = [piece.folder / str(number) / f"{table}.parquet" for piece in pieces if piece.table == table]
                there = [part for part in parts if part.is_file()]
                whole = open_parquet(con, there) if there else whole.limit(0)
            whole.create_view(f"raw_{table}")
        read(con, config, counts)
        made = {table for (table,) in run(con, "prepared/tables").fetchall()}
        with published(out / str(number)) as aside:
            for table in made.intersection(_MADE):
                con.table(table).write_parquet(str(aside / f"{table}.parquet"), compression="zstd")
    flat: dict[tuple[str, str], int] = {}
    for name, value in counts.items():
        flat |= {(name, field): n for field, n in value.items()} if isinstance(value, dict) else {(name, ""): value}
    return flat


def _step(
    config: PrepareConfig, name: str | None, params: dict[str, Any] | None, rare: Path | None, out: Path, part: Path
) -> tuple[int, int]:
    """Run a step of the filter on a range. Returns its numbers of users and interactions."""
    with tempfile.TemporaryDirectory() as temp, connect(config, Path(temp)) as con:
        open_parquet(con, part / "interactions.parquet").create("interactions")
        if rare is not None:
            open_parquet(con, rare).create_view("rare_items")
        if name is not None:
            run(con, name, params)
        run(con, "prepared/item_counts")
        with published(out / part.name) as aside:
            for table in ("interactions", "item_counts"):
                con.table(table).write_parquet(str(aside / f"{table}.parquet"), compression="zstd")
        size = files.one_row(con, "prepared/size")
    return size["users"], size["interactions"]
