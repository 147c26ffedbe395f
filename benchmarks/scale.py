"""Generated data of KuaiSAR-full's size to a prepared dataset: rows per second and peak memory of each step.

python -m benchmarks.scale [--rows N] [--times T] [--keep FOLDER]

--rows: shown rows of both behaviors; 19,664,885 (KuaiSAR-full) by default. --times 10 writes ten such parts with users
of their own: about 200 million rows, beyond memory, with the same DuckDB limit of 8 GB (some 60 GB of disk). Each step
runs in a separate process. There is no other side, so `speedup` is null.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pyarrow.parquet as pq

from benchmarks.prepare import SETTINGS, ours, scratch
from benchmarks.shapes import KUAISAR_FULL_ROWS, kuaisar
from benchmarks.sides import Cost, arguments, in_child, measured
from gensr_model.config.pipeline import PipelineConfig

STEPS = ("generate", "ingest", "prepare")


def generate(rows: int, times: int, folder: Path) -> None:
    from gensr_model.data.synthetic import write_kuaisar

    source = kuaisar(rows)
    for part in range(times):
        label = f"part-{part:03}" if times > 1 else ""
        write_kuaisar(folder, source, label=label, first_user=part * source.users)


def ingest(place: Path) -> None:
    from tasks.ingest.ingest import build_raw

    build_raw(PipelineConfig.model_validate(SETTINGS), place / "csv", place / "raw")


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--rows", type=int, default=KUAISAR_FULL_ROWS)
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="a new folder to keep the data in")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    parser.add_argument("--place", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.step:
        place: Path = given.place
        work = {
            "generate": lambda: generate(given.rows, given.times, place / "csv"),
            "ingest": lambda: ingest(place),
            "prepare": lambda: ours(place / "raw", place / "prepared"),
        }[given.step]
        print(json.dumps(measured(work)))
        return
    with scratch(given.keep) as place:
        for name in ("csv", "raw", "prepared"):
            (place / name).mkdir(parents=True)
        sizes = ("--rows", given.rows, "--times", given.times, "--place", place)
        costs = {step: Cost(*in_child("scale", "--step", step, *sizes)) for step in STEPS}
        rows = {p.stem: pq.read_metadata(p).num_rows for p in sorted((place / "raw").glob("*.parquet"))}
        events = pq.read_metadata(place / "prepared" / "events.parquet").num_rows
    total = sum(rows.values())
    steps = {step: cost._asdict() | {"rows_per_s": round(total / cost.seconds)} for step, cost in costs.items()}
    claim = "generated data of KuaiSAR's size, from nothing to a prepared dataset"
    print(json.dumps({"claim": claim, "speedup": None, "rows": rows, "prepared_events": events, **steps}))


if __name__ == "__main__":
    main()
