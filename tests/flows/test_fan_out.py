"""What must be true of a Dask cluster before systems are put to work on it: real schedulers and workers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from distributed import Client
from prefect import flow, task
from prefect.futures import wait

from flows.rerank_table import rerank_table
from flows.shared import fan_out
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.config.studies import RerankConfig
from gensr_model.errors import ConfigError
from tasks.core import cluster


def test_threads_of_this_machine_need_no_dask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prefect_dask", None)  # importing it raises, as where it is not installed
    assert fan_out.fan_out(RerankConfig(concurrency=3)).at_once == 3
    with pytest.raises(ConfigError, match=r"needs the extra `dask`.* pip install .*\.\[dask\]"):
        fan_out.fan_out(RerankConfig(dask="127.0.0.1:8786"))


@pytest.mark.usefixtures("prefect_server")
def test_no_more_systems_than_configured_are_at_work_at_once() -> None:
    at_work: list[int] = []
    lock, running = threading.Lock(), 0

    @task
    def system() -> None:
        nonlocal running
        with lock:
            running += 1
            at_work.append(running)
        time.sleep(0.2)
        with lock:
            running -= 1

    @flow(task_runner=fan_out.fan_out(RerankConfig(concurrency=2)).runner)
    def every() -> None:
        wait([system.submit() for _ in range(5)])

    every()
    assert len(at_work) == 5
    assert max(at_work) == 2


@pytest.mark.usefixtures("prefect_server")
def test_a_cluster_that_cannot_be_used_is_said_before_anything_is_trained(gensr_home: Path) -> None:
    with pytest.raises(ConfigError, match=r"answers at '127\.0\.0\.1': missing port"):
        rerank_table(PipelineConfig(rerank={"dask": "127.0.0.1"}))
    assert not (gensr_home / "store").exists()


def test_no_scheduler_or_no_worker_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(cluster, "CONNECT", 0.5)
    monkeypatch.setattr(cluster, "FIRST_WORKER", 0.5)
    with pytest.raises(ConfigError, match=r"no Dask scheduler answers at 'tcp://127\.0\.0\.1:1'"):
        fan_out.fan_out(RerankConfig(dask="tcp://127.0.0.1:1"))
    monkeypatch.setattr(cluster, "CONNECT", 30)
    with started("scheduler", tmp_path, tmp_path) as scheduler_file:  # a process: in this one it once never began
        address = json.loads(scheduler_file.read_text(encoding="utf-8"))["address"]
        with pytest.raises(ConfigError, match="has had no worker"):
            fan_out.fan_out(RerankConfig(dask=address))


@contextmanager
def started(what: str, where: Path, state: Path, *arguments: str) -> Iterator[Path]:
    """``dask scheduler`` or ``dask worker`` on the loopback, with a state folder; gives the scheduler's file."""
    scheduler_file = where / "scheduler.json"
    command = [sys.executable, "-m", "dask", what, "--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0"]
    environment = os.environ | {"GENSR_HOME": str(state), "PYTHONPATH": os.pathsep.join(sys.path)}
    with (
        (where / f"{what}.log").open("a", encoding="utf-8") as log,
        subprocess.Popen(
            [*command, "--scheduler-file", str(scheduler_file), *arguments], env=environment, stdout=log, stderr=log
        ) as process,
    ):
        try:
            while not scheduler_file.is_file():
                assert process.poll() is None, Path(log.name).read_text(encoding="utf-8")
                time.sleep(0.05)
            yield scheduler_file
        finally:
            process.terminate()


@pytest.mark.slow
@pytest.mark.parametrize("stray", ["scheduler", "worker", None])
def test_scheduler_and_workers_have_the_flows_place_and_threads_are_counted(
    gensr_home: Path, tmp_path: Path, stray: str | None
) -> None:
    scheduler, worker = (tmp_path / "other" if who == stray else gensr_home for who in ("scheduler", "worker"))
    places = ("--no-nanny", "--nthreads", "3")
    with (
        started("scheduler", tmp_path, scheduler, "--port", "0") as scheduler_file,
        started("worker", tmp_path, worker, *places),
        started("worker", tmp_path, worker, *places),
    ):
        asked = RerankConfig(dask=json.loads(scheduler_file.read_text(encoding="utf-8"))["address"], concurrency=1)
        if stray is None:
            with Client(asked.dask) as client:
                client.wait_for_workers(2, timeout=60)
            assert fan_out.fan_out(asked).at_once == 6
        else:
            with pytest.raises(ConfigError, match=f"GENSR_HOME is {tmp_path}/other, the flow's is {gensr_home};"):
                fan_out.fan_out(asked)
