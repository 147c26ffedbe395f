"""Profiles of tables: a row per column, ties per day, and bins for comparison with later data (drift)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb

from gensr_model.runtime.files import write_json
from tasks.core.sql_runner import run, to_arrow
from tasks.prepare import schemas as files

PROFILE, BINS = "profile.json", "bins.json"


def write_profile(con: duckdb.DuckDBPyConnection, tables: list[str], out: Path) -> None:
    """Write ``profile.json``: {"columns": a row per table and column, "ties": a row per day, for tables of events}."""
    content: dict[str, Any] = {"columns": [row for table in tables for row in _columns(con, table)]}
    if "events" in tables:
        content["ties"] = files.one_row(con, "profile/ties")
    write_json(out / PROFILE, content)


def write_bins(con: duckdb.DuckDBPyConnection, out: Path) -> None:
    """Write ``bins.json``: the features of the prepared tables of ``con`` in bins, rows of (feature, upper, rows).

    Leaves the table ``histogram`` in ``con``.
    """
    run(con, "drift/histogram")
    write_json(out / BINS, to_arrow(con, "drift/bins").to_pylist())


def _columns(con: duckdb.DuckDBPyConnection, table: str) -> list[dict[str, Any]]:
    relation = con.table(table)
    plain = [name for name in relation.columns if name != "file_row_number"]
    relation.select(*(duckdb.ColumnExpression(name) for name in plain)).create_view("profiled", replace=True)
    return [{"table": table, **row} for row in to_arrow(con, "profile/columns").to_pylist()]
