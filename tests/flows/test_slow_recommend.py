"""``recommend/batch`` on the workers of a real Dask cluster, and into a database whose password is nowhere else."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
from answer_batches import Made, all_users, folder_rows, registered
from distributed import Client, LocalCluster, get_task_stream
from postgresql_server import PASSWORD, QUOTED, postgresql_server, with_login

from flows.recommend_batch import recommend_batch
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.errors import DataError

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_server")]
WRONG = "planted-0d4"


@pytest.fixture
def home(gensr_home: Path, tmp_path: Path) -> Path:
    registered(gensr_home, tmp_path)
    return gensr_home


@pytest.fixture
def cluster(home: Path) -> Iterator[LocalCluster]:
    """Two worker processes of one thread each, with the environment of the test."""
    del home  # set before
    with LocalCluster(host="127.0.0.1", n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as made:
        yield made


def test_two_workers_share_the_shards(home: Path, cluster: LocalCluster) -> None:
    settings = {"top_n": 4, "shard_size": 8, "dask": cluster.scheduler_address}
    config = PipelineConfig.model_validate({"name": "toy", "recommend": settings})
    with Client(cluster) as client, get_task_stream(client) as stream:
        manifest = recommend_batch(config)
        pids = client.run(lambda: psutil.Process().pid)
    ran = [task["worker"] for task in stream.data if "write_one" in str(task["key"])]
    assert len(ran) == len(manifest["shards"]) == 9
    assert {pids[worker] for worker in ran} == set(pids.values())
    folders = [home / "champions" / f"gensr-toy-{key}" for key in ("k1", "f1")]
    made = Made(*folders, version="1", top_n=4, shard_size=8)
    made.check(folder_rows(home / "recommendations", made.batch), all_users(folders[0]))


def test_a_databases_password_is_nowhere_but_in_its_variable(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    config = PipelineConfig.model_validate({"name": "toy", "recommend": {"output": "env:RECS_DB", "shard_size": 40}})
    with postgresql_server() as url:
        monkeypatch.setenv("RECS_DB", with_login(url, WRONG))
        with pytest.raises(DataError, match="authentication failed") as raised:
            recommend_batch(config)
        monkeypatch.setenv("RECS_DB", with_login(url))
        manifest = recommend_batch(config)
        assert manifest["recommendations"]["answers"] == 70
        with psycopg.connect(with_login(url)) as con:
            assert con.execute("select count(*) from recommendations where version = '1'").fetchone() == (700,)
    assert "env:RECS_DB" in caplog.text
    files = [path for path in home.rglob("*") if path.is_file()]
    assert any(b"env:RECS_DB" in path.read_bytes() for path in files), "the search finds what is there"
    for secret in (PASSWORD, QUOTED, WRONG):
        assert secret not in caplog.text + str(raised.value) + str(manifest)
        assert not [path for path in files if secret.encode() in path.read_bytes()]
