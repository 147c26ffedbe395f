"""Items of the events that the item file describes: none means another release, few a wrong or cut file."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from pathlib import Path

import duckdb

from gensr_model.errors import DataError
from tasks.core import sql_runner

USED, WITHOUT = "items_in_events", "items_without_meta"


def described_items(
    con: duckdb.DuckDBPyConnection, folder: Path, events: Iterable[str], item_files: Sequence[Path]
) -> dict[str, int]:
    """Counts for a manifest's notes: items of the events, and those without a row in ``items.parquet``.

    The events are the tables ``events`` of ``folder``. Raises DataError, which names the ``item_files``, where no item
    has a row.
    """
    named = [sql_runner.open_parquet(con, folder / f"{table}.parquet").select("item") for table in events]
    functools.reduce(duckdb.DuckDBPyRelation.union, named).create_view("named_items", replace=True)
    sql_runner.open_parquet(con, folder / "items.parquet").select("item").create_view("written", replace=True)
    ((used, missing, first_used, first_described),) = sql_runner.run(con, "raw/described").fetchall()
    if used and missing == used:
        raise DataError(
            f"{', '.join(map(str, item_files))}: describes none of the {used:,} items that the events "
            f"name (first id there: {first_used}, here: {first_described}). Bring the item file of "
            "the same category and release."
        )
    return {USED: int(used), WITHOUT: int(missing)}
