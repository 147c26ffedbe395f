"""Reading raw files, against the usual ways to read them. Equal results are asserted.

python -m benchmarks.ingest [--meta FILE] [--users N] [--items N] [--rows N]

- Meta lines to values: our parser against `ast.literal_eval` line by line, both in the same two running processes,
  without sending results back.
- Meta file to the finished Arrow table: ours as in ingest, with unpacking and the start of processes where the file is
  large enough, against the two processes that already have their lines.
- Reviews to typed rows: ours with every check and an account of every line, against `json.loads` line by line into a
  pandas frame.
- Own logs: as in ``benchmarks.ingest_logs``.

Data are generated unless --meta names a file.
"""

from __future__ import annotations

import ast
import gzip
import json
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa

from benchmarks.common import seconds
from benchmarks.ingest_logs import compare
from benchmarks.sides import arguments
from gensr_model.config.data import GeneratedSource
from gensr_model.data.synthetic import write_amazon
from tasks.ingest import python_literals
from tasks.ingest.formats.amazon import review_blocks
from tasks.ingest.formats.amazon_meta import ITEMS, item_row, meta_blocks, parse_entry
from tasks.ingest.rejects import time_bounds

PROCESSES = 2
_raw: list[bytes] = []  # the lines of a worker, and
_lines: list[str] = []  # the same as text


def _load(path: Path, share: int, shares: int) -> None:
    _raw[:] = gzip.decompress(path.read_bytes()).splitlines()[share::shares]
    _lines[:] = [line.decode() for line in _raw]


def _fast(_: int) -> int:
    return sum(value is not None for value in fast_values(_raw))


def _values(_: int) -> int:
    return sum(ast.literal_eval(line) is not None for line in _lines)


def _table(_: int) -> pa.Table:
    return pa.Table.from_pylist([item_row(ast.literal_eval(line)) for line in _lines], ITEMS)


def fast_values(lines: list[bytes]) -> list[Any]:
    """Parse as in ingest: the fast reader, and the slow one where the fast one is not sure."""
    parsed = [python_literals.parse(line) for line in lines]
    return [
        parse_entry(line.decode()) if value is python_literals.UNSURE else value
        for line, value in zip(lines, parsed, strict=True)
    ]


def meta(path: Path) -> dict[str, Any]:
    """Seconds and MB/s of the meta file, for parsing alone and up to the table."""
    lines = gzip.decompress(path.read_bytes()).splitlines()
    assert fast_values(lines) == [ast.literal_eval(line.decode()) for line in lines]
    size = sum(map(len, lines)) / 1e6
    # A pool of one process each, which keeps its share of the lines.
    pools = [ProcessPoolExecutor(1, initializer=_load, initargs=(path, share, PROCESSES)) for share in range(PROCESSES)]

    def both(work: Any) -> list[Any]:
        started = [pool.submit(work, 0) for pool in pools]
        return [each.result() for each in started]

    try:
        ours, other = seconds(lambda: both(_fast)), seconds(lambda: both(_values))
        ours_one = seconds(lambda: fast_values(lines), repeat=2)
        one = seconds(lambda: [ast.literal_eval(line.decode()) for line in lines], repeat=1)
        table = pa.concat_tables(rows for rows, _ in meta_blocks(path))
        tables = both(_table)
        assert sorted(table["item"].to_pylist()) == sorted(pa.concat_tables(tables)["item"].to_pylist())
        assert table.take(pa.array(range(0, len(table), PROCESSES))).equals(tables[0])
        ours_table = seconds(lambda: pa.concat_tables(rows for rows, _ in meta_blocks(path)), repeat=3)
        other_table = seconds(lambda: both(_table), repeat=3)
    finally:
        for pool in pools:
            pool.shutdown()
    return {
        "file": path.name,
        "megabytes": round(size, 1),
        "mb_per_s": round(size / ours, 1),
        "one_process_mb_per_s": round(size / ours_one, 1),
        "ast_two_processes_mb_per_s": round(size / other, 1),
        "ast_one_process_mb_per_s": round(size / one, 1),
        "speedup": round(other / ours, 2),
        "speedup_to_table": round(other_table / ours_table, 2),
    }


def reviews(path: Path) -> dict[str, Any]:
    """Rows per second of the reviews file."""
    con = duckdb.connect(config={"threads": PROCESSES})
    bounds = time_bounds("1995-01-01")

    def ours() -> pa.Table:
        names = ["user", "item", "ts", "rating"]
        return pa.concat_tables(rows.select(names) for rows, _ in review_blocks(con, path, bounds))

    def by_line() -> pd.DataFrame:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            frame = pd.DataFrame([json.loads(line) for line in file])
        frame["ts"] = frame["unixReviewTime"] * 1000
        return frame.rename(columns={"reviewerID": "user", "asin": "item", "overall": "rating"})

    expected = by_line()[["user", "item", "ts", "rating"]]
    assert ours().to_pydict() == expected.to_dict(orient="list")
    fast, slow = seconds(ours, repeat=2), seconds(by_line, repeat=2)
    rows = len(expected)
    return {
        "rows": rows,
        "rows_per_s": round(rows / fast),
        "pandas_rows_per_s": round(rows / slow),
        "speedup": round(slow / fast, 2),
    }


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--meta", type=Path, help="a meta file of Python literals, gzipped")
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--rows", type=int, default=500_000, help="of own logs")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gensr-benchmark-") as folder:
        source = GeneratedSource(users=given.users, items=given.items, events_per_user=12)
        write_amazon(Path(folder), source)
        meta_run = meta(given.meta or Path(folder) / "meta_Generated.json.gz")
        reviews_run = reviews(Path(folder) / "reviews_Generated_5.json.gz")
    print(json.dumps(meta_run))
    print(json.dumps(reviews_run))
    logs_run = compare(given.rows, rounds=3)
    print(json.dumps(logs_run))
    claim = "meta lines parsed in two processes, against ast.literal_eval in the same two"
    print(
        json.dumps(
            {"claim": claim, "speedup": meta_run["speedup"], "meta": meta_run, "reviews": reviews_run, "logs": logs_run}
        )
    )


if __name__ == "__main__":
    main()
