"""Own logs against KuaiSAR's reader on the same rows, and against DuckDB's and Arrow's JSON readers.

python -m benchmarks.ingest_logs [--rows N] [--memory ROWS]

The sides run in turn, the best of some rounds counts, and all give the same user, item and time. Our reading goes up to
typed rows with an account of every line; DuckDB and Arrow read the same fields and check nothing. Rows are generated,
with the columns of KuaiSAR's rec_inter.csv. ``--memory`` measures the peak of one process that ingests a CSV of so many
rows.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.json as pajson
import pyarrow.parquet as pq

from benchmarks.sides import arguments, in_child, measured
from gensr_model.config.pipeline import PipelineConfig
from tasks.ingest.formats import kuaisar
from tasks.ingest.formats.logs import event_blocks
from tasks.ingest.ingest import build_raw
from tasks.ingest.rejects import time_bounds

START, THREADS, BLOCK = 1_684_700_000_000, 2, 500_000
NAMES = ["user", "item", "ts"]
Read = Callable[[], pa.Table]


def generated(rows: int, first: int = 0) -> pa.Table:
    """Rows of ``rec_inter.csv``."""
    draw = np.random.default_rng(first)
    ts = START + first * 100 + np.arange(rows) * 100
    stamps = pc.strftime(pa.array(ts, pa.timestamp("ms")), "%Y-%m-%d %H:%M:%S")
    seconds = draw.integers(0, 60_000, rows).astype(float)
    flags = {name: draw.integers(0, 2, rows) for name in ("forward", "like", "follow", "search", "search_item_related")}
    columns = {"user_id": draw.integers(0, 25_000, rows), "item_id": draw.integers(0, 4_000_000, rows)}
    times = {"playing_time": seconds, "duration_ms": seconds, "time": stamps, "timestamp": ts}
    return pa.table({**columns, **times, "click": np.ones(rows, np.int64), **flags})


def write_csv(path: Path, rows: int) -> None:
    """A CSV of generated rows, a block at a time."""
    with pacsv.CSVWriter(path, generated(1).schema) as file:
        for first in range(0, rows, BLOCK):
            file.write_table(generated(min(BLOCK, rows - first), first))


def write_files(folder: Path, rows: int) -> dict[str, Path]:
    """The same events as CSV, Parquet, JSON lines and a bulk dump of UBI."""
    paths = {name: folder / f"events.{name}" for name in ("csv", "parquet", "jsonl")} | {"ubi": folder / "ubi.ndjson"}
    table = generated(rows)
    write_csv(paths["csv"], rows) if rows > BLOCK else pacsv.write_csv(table, paths["csv"])
    table = pacsv.read_csv(paths["csv"])
    pq.write_table(table, paths["parquet"])
    with paths["jsonl"].open("w", encoding="utf-8") as lines, paths["ubi"].open("w", encoding="utf-8") as dump:
        for row in table.to_pylist():
            row["time"] = str(row["time"])
            lines.write(json.dumps(row) + "\n")
            dump.writelines(json.dumps(document) + "\n" for document in _documents(row))
    return paths


def _documents(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A row as a line of a bulk dump and the event that follows it; every tenth has a query too."""
    stamp, query_id = row["timestamp"], f"33198ee9-5912-453c-9173-{row['timestamp']}"
    query = {"application": "shop", "query_id": query_id, "client_id": str(row["user_id"]), "user_query": "red shoes"}
    if stamp % 1000 == 0:
        yield {"index": {"_index": "ubi_queries", "_id": query_id}}
        yield {**query, "query_attributes": {}, "timestamp": stamp}
    thing = {"object": {"object_id": str(row["item_id"]), "object_id_field": "sku"}, "position": {"ordinal": 3}}
    yield {"index": {"_index": "ubi_events", "_id": query_id}}
    yield {**query, "action_name": "click", "session_id": query_id, "timestamp": stamp, "event_attributes": thing}


def times(sides: dict[str, Read], rounds: int) -> dict[str, tuple[float, float]]:
    """The best wall and CPU seconds of each side, in turn, after a warm-up round. The rows of all sides are equal."""
    expected: pa.Table | None = None
    best = dict.fromkeys(sides, (float("inf"), float("inf")))
    for number in range(rounds + 1):
        for name, read in sides.items():
            begun, cpu = time.perf_counter(), time.process_time()
            table = read()
            if number:
                wall, cpu = time.perf_counter() - begun, time.process_time() - cpu
                best[name] = (min(best[name][0], wall), min(best[name][1], cpu))
            else:
                rows = pa.table({n: table[n].combine_chunks().cast(pa.string()) for n in NAMES})
                assert expected is None or rows.equals(expected), name
                expected = rows
    return best


def compare(rows: int, rounds: int) -> dict[str, Any]:
    """Ratios of seconds and of MB/s, and of CPU seconds, which other work on the machine changes less."""
    bounds = time_bounds("1995-01-01")
    pa.set_cpu_count(THREADS)
    with (
        tempfile.TemporaryDirectory(prefix="gensr-benchmark-") as folder,
        duckdb.connect(config={"threads": THREADS, "temp_directory": f"{folder}/spill"}) as con,
    ):
        paths = write_files(Path(folder), rows)

        def ours(name: str, layout: str | None = None) -> Read:
            logs = PipelineConfig.model_validate({"format": "logs", "logs": {"layout": layout}}).logs
            return lambda: pa.concat_tables([each for each, _ in event_blocks(logs, con, paths[name], bounds)])

        def theirs(query: str, path: Path) -> Read:
            return lambda: con.sql(query, params={"path": str(path)}).to_arrow_table()

        def plain() -> pa.Table:
            return pa.concat_tables([each for each, _ in kuaisar.blocks(kuaisar.SPECS[0], con, paths["csv"], bounds)])

        def arrow() -> pa.Table:
            table = pajson.read_json(paths["jsonl"]).select(["user_id", "item_id", "timestamp"])
            return table.rename_columns(NAMES)

        def arrow_dump() -> pa.Table:
            table = pajson.read_json(paths["ubi"])
            table = table.filter(pc.is_valid(table["action_name"]))
            thing = pc.struct_field(table["event_attributes"], ["object", "object_id"])
            return pa.table([table["client_id"], thing, table["timestamp"]], NAMES)

        rows_of = {
            "kuaisar": plain,
            "csv": ours("csv"),
            "parquet": ours("parquet"),
            "jsonl": ours("jsonl"),
            "jsonl_duckdb": theirs(_JSON, paths["jsonl"]),
            "jsonl_arrow": arrow,
        }
        best = times(rows_of, rounds)
        dump = {"ubi": ours("ubi", "ubi"), "ubi_duckdb": theirs(_UBI, paths["ubi"]), "ubi_arrow": arrow_dump}
        best |= times(dump, rounds)
        sizes = {name: path.stat().st_size / 1e6 for name, path in paths.items()}
    wall, cpu = ({name: round(both[n], 3) for name, both in best.items()} for n in (0, 1))
    return {
        "rows": rows,
        "seconds": wall,
        "cpu_seconds": cpu,
        "csv_to_kuaisar": round(wall["csv"] / wall["kuaisar"], 2),
        "parquet_to_kuaisar": round(wall["parquet"] / wall["kuaisar"], 2),
        **{
            f"{name}_{field}": round(value, 2)
            for name in ("jsonl", "ubi")
            for field, value in (
                ("mb_per_s", sizes[name] / wall[name]),
                ("to_duckdb", wall[f"{name}_duckdb"] / wall[name]),
                ("to_arrow", wall[f"{name}_arrow"] / wall[name]),
                ("to_arrow_cpu", cpu[f"{name}_arrow"] / cpu[name]),
            )
        },
    }


_JSON = """
    select user_id as "user", item_id as item, timestamp as ts
    from read_ndjson($path, columns = {user_id: 'varchar', item_id: 'varchar', timestamp: 'bigint'})
"""
_UBI = """
    select client_id as "user", event_attributes.object.object_id as item, timestamp as ts
    from read_ndjson($path, columns = {
        action_name: 'varchar', query_id: 'varchar', client_id: 'varchar', user_query: 'varchar', session_id: 'varchar',
        timestamp: 'bigint', event_attributes: 'struct(object struct(object_id varchar))'})
    where action_name is not null
"""


def ingest_csv(rows: int) -> dict[str, Any]:
    """Seconds and peak memory of a whole ingest of a CSV, in this process."""
    config = PipelineConfig.model_validate({"format": "logs", "prepare": {"threads": THREADS}})
    with tempfile.TemporaryDirectory(prefix="gensr-benchmark-") as folder:
        source, out = Path(folder) / "source", Path(folder) / "raw"
        source.mkdir()
        out.mkdir()
        write_csv(source / "events.csv", rows)
        cost = measured(lambda: build_raw(config, source, out))
        assert pq.read_metadata(out / "events.parquet").num_rows == rows
    return {"rows": rows, "seconds": cost.seconds, "peak_gb": cost.peak_gb}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", type=int, help="rows of a CSV whose ingest's peak memory is measured")
    parser.add_argument("--side", type=int, help="what a child of --memory does")
    given = parser.parse_args()
    if given.side:
        print(json.dumps(ingest_csv(given.side)))
    elif given.memory:
        print(json.dumps(in_child("ingest_logs", "--side", given.memory)))
    else:
        print(json.dumps(compare(given.rows, given.rounds)))


if __name__ == "__main__":
    main()
