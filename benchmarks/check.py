"""Seconds of `gensr check` on generated logs: the whole command with new files, then once more with known files.

python -m benchmarks.check [--rows N] [--kind csv|parquet]

One row is an event with user, item, time, type and, in a third of the rows, a query. There are a tenth as many users
and a fiftieth as many items, by popularity. The state folder is empty before the first run.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from benchmarks.sides import arguments

DAYS, START, TYPES = 60, 1_700_000_000, ("click", "view", "impression", "purchase")


def write(folder: Path, rows: int, kind: str) -> None:
    """Write ``events`` with ``rows`` rows and the ``items`` that they name into the folder."""
    draw = np.random.default_rng(0)
    users, items = max(rows // 10, 50), max(rows // 50, 50)
    item = (items * draw.random(rows) ** 2).astype(np.int64)
    query = np.where(draw.random(rows) < 1 / 3, np.char.add("thing of kind ", (item % 5_000).astype(str)), "")
    events = {
        "user_id": np.char.add("u", (users * draw.random(rows) ** 1.5).astype(np.int64).astype(str)),
        "item_id": np.char.add("i", item.astype(str)),
        "timestamp": START + draw.integers(0, DAYS * 86_400, rows),
        "event_type": np.array(TYPES)[draw.integers(0, len(TYPES), rows)],
        "query": query,
    }
    number = np.arange(items).astype(str)
    texts = {"item_id": np.char.add("i", number), "title": np.char.add("thing number ", number)}
    for name, columns in (("events", events), ("items", texts)):
        table, path = pa.table(columns), folder / f"{name}.{kind}"
        pq.write_table(table, path) if kind == "parquet" else pacsv.write_csv(table, path)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--kind", choices=("csv", "parquet"), default="csv")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gensr-benchmark-") as temp:
        folder = Path(temp) / "logs"
        folder.mkdir()
        write(folder, given.rows, given.kind)
        command = [sys.executable, "-m", "flows.cli", "check", "--data", str(folder), "--format", "logs"]
        took, cpu = [], []
        for _ in range(2):
            begun, used = time.perf_counter(), os.times()
            subprocess.run(command, check=True, stdout=sys.stderr, env=os.environ | {"GENSR_HOME": f"{temp}/home"})
            took.append(round(time.perf_counter() - begun, 1))
            now = os.times()
            spent = now.children_user + now.children_system - used.children_user - used.children_system
            cpu.append(round(spent, 1))
    claim = "seconds of gensr check, the first time and with files that are read already"
    figures = {"first": took[0], "first_cpu": cpu[0], "again": took[1], "again_cpu": cpu[1]}
    print(json.dumps({"claim": claim, "rows": given.rows, "kind": given.kind, **figures}))


if __name__ == "__main__":
    main()
