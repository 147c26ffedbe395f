"""One query on tiny input tables, on the real engine: ``<folder of sql>/<query>/<case>/`` holds files, no code.

``<table>.csv`` or ``<table>.json``
    An input table. A CSV's header gives name and type (``user:text,ts:int``; text, int, float, bool); an empty cell is
    null, ``""`` the empty text. A JSON file is a list of objects, for lists in cells.
``expected.csv``, or ``expected.<table>.csv``
    The rows that the query returns, or those of the table that it makes; JSON too. Column names count, the order of
    rows only where ``case.json`` says ``"ordered": true``.
``case.json``
    ``about``, a sentence; and where needed ``params`` of the query and ``before``, queries to run first.

A new case is a new folder.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from pyarrow import csv

from tasks.core.sql_runner import query, run

HERE = Path(__file__).parent
CASES = sorted(path.parent for path in HERE.rglob("case.json"))
TYPES = {"int": pa.int64(), "float": pa.float64(), "text": pa.string(), "bool": pa.bool_()}


def read_table(path: Path) -> pa.Table:
    """A CSV with a typed header, or a JSON list of objects."""
    if path.suffix == ".json":
        return pa.Table.from_pylist(json.loads(path.read_text(encoding="utf-8")))
    header = path.read_text(encoding="utf-8").splitlines()[0].split(",")
    types = {name: TYPES[name.rsplit(":", 1)[1]] for name in header}
    options = csv.ConvertOptions(
        column_types=types, null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False
    )
    table = csv.read_csv(path, convert_options=options, parse_options=csv.ParseOptions(newlines_in_values=True))
    return table.rename_columns([name.rsplit(":", 1)[0] for name in header])


def rows_of(table: pa.Table, ordered: bool) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows if ordered else sorted(rows, key=repr)


@pytest.mark.parametrize("folder", CASES, ids=lambda path: path.relative_to(HERE).as_posix())
def test_case(folder: Path) -> None:
    case = json.loads((folder / "case.json").read_text(encoding="utf-8"))
    assert case.keys() <= {"about", "params", "before", "ordered"}
    assert case["about"]
    (expected,) = folder.glob("expected.*")
    con = duckdb.connect()
    for path in folder.iterdir():
        if path not in (expected, folder / "case.json"):
            con.from_arrow(read_table(path)).create(path.stem)
    for name in case.get("before", []):
        run(con, name).fetchall()
    name = folder.parent.relative_to(HERE).as_posix()
    made = expected.stem.removeprefix("expected").removeprefix(".")
    if made:
        run(con, name, case.get("params")).fetchall()
        result = con.table(made).to_arrow_table()
    else:
        result = con.sql(query(name), params=case.get("params", {})).to_arrow_table()
    wanted = read_table(expected)
    assert result.column_names == wanted.column_names
    ordered = case.get("ordered", False)
    assert rows_of(result, ordered) == rows_of(wanted, ordered)


def test_every_case_is_of_a_query_and_has_input_and_expected_rows() -> None:
    assert len(CASES) >= 25
    for folder in CASES:
        assert query(folder.parent.relative_to(HERE).as_posix())
        assert len(list(folder.iterdir())) >= 3, folder
    assert {path.parent for path in HERE.rglob("expected.*")} == set(CASES)
