"""``prepare.dask``: the folders that workers of a real Dask cluster make are those of one machine, byte for byte."""

from __future__ import annotations

import hashlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from distributed import Client, LocalCluster
from shop_logs import shop

from gensr_model.config.data import GeneratedSource
from gensr_model.config.known_formats import Format
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.data.synthetic import write_amazon, write_kuaisar
from tasks.ingest.ingest import build_raw
from tasks.prepare.prepare import build_prepared
from tasks.validate.validate import validate_prepared

pytestmark = pytest.mark.slow


@pytest.fixture(params=[1, 2, 4])
def scheduler(request: pytest.FixtureRequest, gensr_home: Path) -> Iterator[str]:
    """The address of a cluster of so many worker processes, with the environment of the test."""
    del gensr_home  # set before
    with LocalCluster(
        host="127.0.0.1", n_workers=request.param, threads_per_worker=1, dashboard_address="127.0.0.1:0"
    ) as cluster:
        yield cluster.scheduler_address


def config(format: Format, **prepare: Any) -> PipelineConfig:
    settings = {"threads": 1, "min_interactions": 3, "negatives": 20, "protocols": ["uniform", "popularity"]}
    return PipelineConfig.model_validate({"format": format, "prepare": settings | prepare})


def source(format: Format, folder: Path) -> Path:
    if format == "logs":
        return shop(folder / "logs", searches=0.5)
    world = GeneratedSource(users=300, items=400, events_per_user=20)
    (write_amazon if format == "amazon" else write_kuaisar)(folder / format, world)
    return folder / format


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def built(place: Path, raw_files: Path, settings: PipelineConfig) -> dict[str, str]:
    """Digests of all files that the stages write, with the audits."""
    for name in ("raw", "prepared", "checks"):
        (place / name).mkdir(parents=True)
    build_raw(settings, raw_files, place / "raw")
    build_prepared(place / "raw", settings, place / "prepared")
    validate_prepared(place / "prepared", settings, place / "checks")
    written = {f"{name}/{file}": value for name in ("raw", "prepared") for file, value in digests(place / name).items()}
    return written | {"audits": digests(place / "checks")["audits.json"]}


def test_workers_make_what_one_machine_makes(tmp_path: Path, scheduler: str) -> None:
    formats: tuple[Format, ...] = ("amazon", "kuaisar", "logs")
    for format in formats:
        files = source(format, tmp_path)
        alone = built(tmp_path / f"{format}-alone", files, config(format))
        assert len(alone) > 12
        assert built(tmp_path / f"{format}-workers", files, config(format, dask=scheduler)) == alone, format


@pytest.mark.parametrize("scheduler", [2], indirect=True)
def test_a_worker_that_is_killed_is_replaced(tmp_path: Path, scheduler: str) -> None:
    files = source("kuaisar", tmp_path)
    rows = (files / "rec_inter.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    for part in range(40):
        text = "".join([rows[0], *rows[1 + part :: 40] * 30])
        (files / f"rec_inter.part-{part:02}.csv").write_text(text, encoding="utf-8")
    for name in ("alone", "workers"):
        (tmp_path / name).mkdir()
    build_raw(config("kuaisar"), files, tmp_path / "alone")
    with Client(scheduler) as client:
        pids = client.run(os.getpid)
        killed: list[int] = []

        def kill() -> None:
            while len(list((tmp_path / "workers" / "pieces").glob("rec-*/0"))) < 3:
                time.sleep(0.001)
            busy = next(worker for worker, work in client.processing().items() if work)
            killed.append(pids[busy])
            os.kill(pids[busy], signal.SIGKILL)

        killer = threading.Thread(target=kill, daemon=True)
        killer.start()
        build_raw(config("kuaisar", dask=scheduler), files, tmp_path / "workers")
        killer.join(timeout=1)
        assert killed
        client.wait_for_workers(2, timeout=60)
        assert not set(killed) & set(client.run(os.getpid).values())
    assert digests(tmp_path / "workers") == digests(tmp_path / "alone")
