"""Ingest, prepare and audits on Dask workers: measured at two sizes, and computed from there for n machines.

python -m benchmarks.cluster [--sizes 500000 2000000] [--rows 2000000000] [--workers 16]

Generated data in KuaiSAR's format. Each size runs in a separate process with a cluster of one worker of one thread.
Measured are CPU seconds of the worker, by kind of work, and of the process that gives out the work; bytes on disk; and
the peak memory of both. The computed part takes the cost per row between the two sizes. It adds the seconds of the
giving process to those of the workers, shared by all of them. It leaves out networks and disks, and waiting.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmarks.shapes import kuaisar
from benchmarks.sides import arguments, in_child, peak_bytes
from gensr_model.config.pipeline import PipelineConfig

MACHINES = (1, 4, 16, 64)
MEMORY = 2**30


def measure(rows: int) -> dict[str, Any]:
    """The costs of each stage at one size."""
    from distributed import Client, LocalCluster

    with contextlib.ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gensr-benchmark-")))
        cluster = stack.enter_context(
            LocalCluster(host="127.0.0.1", n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0")
        )
        client = stack.enter_context(Client(cluster))
        return _stages(client, cluster.scheduler_address, rows, place)


def _stages(client: Any, address: str, rows: int, place: Path) -> dict[str, Any]:
    from gensr_model.data.synthetic import write_kuaisar
    from tasks.core.cluster import connected
    from tasks.ingest.ingest import build_raw
    from tasks.prepare.prepare import build_prepared
    from tasks.validate.audit import audits_on

    prepare = {"threads": 1, "memory_limit": "4GB", "protocols": ["uniform"], "dask": address}
    config = PipelineConfig.model_validate({"format": "kuaisar", "prepare": prepare})
    folders = {name: place / name for name in ("csv", "raw", "prepared")}
    for folder in folders.values():
        folder.mkdir()
    write_kuaisar(folders["csv"], kuaisar(rows))

    def audit() -> None:
        with connected(address, "prepare.dask", place) as workers:
            assert workers is not None
            results = audits_on(workers, folders["prepared"], config.prepare)
        assert not any(result.violations for result in results)

    stages = {
        "ingest": _cost(client, lambda: build_raw(config, folders["csv"], folders["raw"])),
        "prepare": _cost(client, lambda: build_prepared(folders["raw"], config, folders["prepared"])),
        "audits": _cost(client, audit),
    }
    interactions = sum(pq.read_metadata(folders["raw"] / f"{table}.parquet").num_rows for table in ("rec", "src"))
    return {
        "rows": interactions,
        "events": pq.read_metadata(folders["prepared"] / "events.parquet").num_rows,
        "bytes": {name: sum(path.stat().st_size for path in folder.iterdir()) for name, folder in folders.items()},
        "stages": stages,
        "worker_peak_gb": round(max(client.run(peak_bytes).values()) / MEMORY, 2),
        "giving_peak_gb": round(peak_bytes() / MEMORY, 2),
    }


def _cost(client: Any, work: Callable[[], None]) -> dict[str, Any]:
    """CPU seconds of the giving process and of the worker, the latter by kind of work in the shares of its wall."""
    from distributed import get_task_stream

    (before,) = client.run(time.process_time).values()
    begun, wall = time.process_time(), time.perf_counter()
    with get_task_stream(client) as stream:
        work()
    giving, wall = time.process_time() - begun, time.perf_counter() - wall
    (after,) = client.run(time.process_time).values()
    kinds = Counter[str]()
    for task in stream.data:
        busy = sum(each["stop"] - each["start"] for each in task["startstops"] if each["action"] == "compute")
        kinds[str(task["key"]).rsplit("-", 1)[0]] += busy
    total = sum(kinds.values()) or 1.0
    worker = {kind: round((after - before) * busy / total, 2) for kind, busy in kinds.most_common()}
    return {
        "giving_s": round(giving, 2),
        "worker_s": round(after - before, 2),
        "kinds": worker,
        "wall_s": round(wall, 1),
    }


def modelled(small: dict[str, Any], large: dict[str, Any], rows: int, workers: int) -> list[dict[str, Any]]:
    """Hours on n machines for ``rows`` rows, from the costs of a row between two sizes."""
    more = large["rows"] - small["rows"]
    table = []
    for machines in MACHINES:
        hours = {}
        for stage, cost in large["stages"].items():
            grown = (cost[side] - small["stages"][stage][side] for side in ("giving_s", "worker_s"))
            giving, worker = (max(0.0, seconds) / more * rows / 3600 for seconds in grown)
            hours[stage] = {"giving": round(giving, 2), "workers": round(worker / (machines * workers), 3)}
        table.append({"machines": machines, "hours": hours})
    return table


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--sizes", type=int, nargs=2, default=[500_000, 2_000_000])
    parser.add_argument("--rows", type=int, default=2_000_000_000)
    parser.add_argument("--workers", type=int, default=16, help="workers of one thread on each machine")
    parser.add_argument("--size", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.size:
        print(json.dumps(measure(given.size)))
        return
    small, large = (in_child("cluster", "--size", size) for size in sorted(given.sizes))
    per_row = {name: round(size / large["rows"], 1) for name, size in large["bytes"].items()}
    print(
        json.dumps(
            {
                "claim": "ingest, prepare and audits on workers of a cluster, and a model of more rows on n machines",
                "speedup": None,
                "measured": [small, large],
                "bytes_per_row": per_row,
                "computed_for_rows": given.rows,
                "computed_terabytes": {name: round(each * given.rows / 1e12, 3) for name, each in per_row.items()},
                "computed": modelled(small, large, given.rows, given.workers),
            }
        )
    )


if __name__ == "__main__":
    main()
