"""One query, tiny input tables, expected rows: each ``cases/*.json`` is run on the real engine.

A case: ``query`` or ``queries`` (files of ``sql/``), ``tables`` (name -> columns and rows), ``params``, ``read``
(the table that the query makes; without it, the rows that the query returns) and ``expect`` (rows, in any order
unless ``ordered``).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from tasks.duck import query, run

CASES = sorted((Path(__file__).parent / "cases").glob("*.json"))
TYPES = {"int": pa.int64(), "text": pa.string(), "bool": pa.bool_(), "paths": pa.list_(pa.list_(pa.string()))}


def as_table(described: dict[str, Any]) -> pa.Table:
    """{"columns": {"user": "text"}, "rows": [["u"]]} as Arrow, so that a column of nulls keeps its type."""
    columns = described["columns"]
    values = list(zip(*described["rows"], strict=True)) or [[] for _ in columns]
    arrays = [pa.array(list(v), TYPES[kind]) for v, kind in zip(values, columns.values(), strict=True)]
    return pa.table(dict(zip(columns, arrays, strict=True)))


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_case(path: Path) -> None:
    case = json.loads(path.read_text())
    con = duckdb.connect()
    for name, described in case["tables"].items():
        table = as_table(described)
        con.from_arrow(table).create(name)
    queries = case.get("queries") or [case["query"]]
    for name in queries[:-1]:
        run(con, name).fetchall()
    last, params = queries[-1], case.get("params", {})
    if "read" in case:
        run(con, last, params).fetchall()
        found = con.table(case["read"]).fetchall()
    else:
        found = con.sql(query(last), params=params).fetchall()
    rows = [list(row) for row in found]
    if not case.get("ordered"):
        rows, case["expect"] = sorted(rows, key=str), sorted(case["expect"], key=str)
    assert rows == case["expect"]


def test_there_are_cases() -> None:
    assert len(CASES) >= 9
