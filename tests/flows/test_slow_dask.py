"""``compare/rerank-table`` on the workers of a real Dask cluster of two processes."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import dask
import psutil
import pyarrow as pa
import pytest
from distributed import Client, LocalCluster, get_task_stream

from flows.rerank_table import rerank_table
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.evaluation.saved_ranks import read_saved_ranks

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_server")]
QUICK = {"epochs": 1, "batch_size": 64, "tune": False}


@pytest.fixture
def cluster(gensr_home: Path) -> Iterator[LocalCluster]:
    """Two worker processes of one thread each, with the environment of the test."""
    del gensr_home  # set before
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),  # what kills its worker gets no other one
        LocalCluster(host="127.0.0.1", n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as made,
    ):
        yield made


def ranks_of(home: Path, run: str) -> dict[str, pa.Table]:
    return read_saved_ranks(home / "runs" / run / "ranks.parquet")


def test_two_workers_make_the_table_that_threads_make_and_a_crash_is_a_row(
    gensr_home: Path, tiny: Callable[..., PipelineConfig], cluster: LocalCluster
) -> None:
    systems = ["own_baselines:Bias", "own_baselines:Broken", "sasrec", "popularity"]
    quick = QUICK | {"dask": cluster.scheduler_address}
    with Client(cluster) as client, get_task_stream(client) as stream:
        fanned = rerank_table(tiny(rerank=quick | {"systems": systems}))
        pids = client.run(lambda: psutil.Process().pid)
    ran = [task["worker"] for task in stream.data if "rank_one" in str(task["key"])]
    assert len(ran) == len(systems)
    assert {pids[worker] for worker in ran} == set(pids.values())
    assert len(set(pids.values())) == 2

    (failed,) = fanned["failed"]
    assert failed["name"] == "own_baselines:Broken"
    assert "ZeroDivisionError: no | way" in failed["error"]

    for stage in ("train-baseline", "evaluate"):
        shutil.rmtree(gensr_home / "store" / stage)
    systems.remove("own_baselines:Broken")
    threads = rerank_table(tiny(rerank=QUICK | {"systems": systems}))
    assert not any(s["reused"] for s in threads["stages"] if s["label"].startswith(("train-", "evaluate-")))
    by_workers, by_threads = (ranks_of(gensr_home, s["flow_run_id"]) for s in (fanned, threads))
    assert set(by_workers) == set(systems)
    assert by_workers == by_threads
    assert fanned["results"] == threads["results"]


def test_a_system_that_takes_its_worker_down_is_a_row(
    gensr_home: Path, tiny: Callable[..., PipelineConfig], cluster: LocalCluster
) -> None:
    quick = QUICK | {"dask": cluster.scheduler_address}
    summary = rerank_table(tiny(rerank=quick | {"systems": ["own_baselines:Deadly", "popularity"]}))
    (failed,) = summary["failed"]
    assert failed["name"] == "own_baselines:Deadly"
    assert "died" in failed["error"]
    assert {row["system"] for row in summary["results"]} == {"popularity"}
