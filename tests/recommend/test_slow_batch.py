"""A batch on PostgreSQL and on S3, and a batch whose process is killed: every user exactly once."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pyarrow.parquet as pq
import pytest
from answer_batches import Made, all_users, folder_rows, sqlite_rows, write_users
from postgresql_server import PASSWORD, QUOTED, postgresql_server, with_login
from s3_server import S3, only_these_keys, s3_server
from served_model import save_bundle

from gensr_model.errors import DataError

pytestmark = pytest.mark.slow
AT_LEAST = 5  # shards that are written before the process is killed


@pytest.fixture(scope="module")
def gensr(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_bundle(tmp_path_factory.mktemp("gensr"), "gensr")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENSR_HOME", str(tmp_path / "home"))


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgresql_server() as url:
        yield url


@pytest.fixture
def database(server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an empty database, which the variable RECS_DB holds."""
    monkeypatch.setenv("RECS_DB", with_login(server))
    with psycopg.connect(with_login(server)) as con:
        con.execute("drop schema public cascade; create schema public")
    return with_login(server)


def postgresql_rows(url: str, table: str = "recommendations") -> list[dict[str, Any]]:
    with psycopg.connect(url, row_factory=psycopg.rows.dict_row) as con:
        return con.execute(f'select * from "{table}"').fetchall()


def test_answers_in_postgresql_are_replaced_by_version(gensr: Path, database: str, tmp_path: Path) -> None:
    users = ["u1", "u2", "nobody", 'it\'s "quoted" ü']
    settings: dict[str, Any] = {"users": write_users(tmp_path / "users.parquet", users), "output": "env:RECS_DB"}
    made = Made(gensr, **settings, top_n=6, shard_size=3, table="Recs")
    manifest = made.write()
    assert manifest is not None
    assert made.destination.place == "env:RECS_DB, table Recs"
    made.check(postgresql_rows(database, "Recs"), users)
    shorter = Made(gensr, **settings, top_n=2, table="Recs")
    shorter.write()
    shorter.check(postgresql_rows(database, "Recs"), users)
    other = Made(gensr, **settings, top_n=2, table="Recs", version="4")
    other.write()
    rows = postgresql_rows(database, "Recs")
    assert len(rows) == 2 * 4 * 2
    other.check([row for row in rows if row["version"] == "4"], users)
    assert made.destination.manifest() == manifest
    for row in postgresql_rows(database, "Recs_shards"):
        assert PASSWORD not in str(row)


def test_what_postgresql_refuses_is_said_without_the_password(
    gensr: Path, database: str, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with psycopg.connect(database) as con:
        con.execute(
            """create table recommendations (
                "user" text, query text, rank int, item text, score float8, source text,
                version text check (version <> '3'), primary key ("user", query, rank, version)
            )"""
        )
    made = Made(gensr, output="env:RECS_DB")
    with pytest.raises(DataError, match=r"recommend\.output \(env:RECS_DB, .*refuses the answers: .*check constraint"):
        made.write()
    assert made.destination.done() == {}
    monkeypatch.setenv("RECS_DB", with_login(server, "planted-0d4"))
    with pytest.raises(DataError, match=r"cannot be opened for writing: .*authentication failed") as raised:
        Made(gensr, output="env:RECS_DB").destination.prepare()
    for secret in ("planted-0d4", PASSWORD, QUOTED):
        assert secret not in str(raised.value)


@pytest.mark.parametrize("kind", ["folder", "sqlite", "postgresql"])
def test_a_killed_batch_goes_on_with_every_user_once(
    gensr: Path, tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue("database") if kind == "postgresql" else ""
    output = {
        "folder": str(tmp_path / "out"), "sqlite": f"sqlite:///{tmp_path}/out.db", "postgresql": "env:RECS_DB"
    }[kind]  # fmt: skip
    made = Made(gensr, output=output, shard_size=1, top_n=4)
    made.destination.prepare()
    script = Path(__file__).with_name("killed_process.py")
    for kills in (1, 2):
        process = subprocess.Popen(
            [sys.executable, script, gensr, output], env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        )
        while len(made.destination.done()) < AT_LEAST * kills:
            assert process.poll() is None, "the batch ended before it was killed"
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert AT_LEAST * kills <= len(made.destination.done()) < 70
    made.write()
    rows = {
        "folder": lambda: folder_rows(tmp_path / "out", made.batch),
        "sqlite": lambda: sqlite_rows(tmp_path / "out.db"),
        "postgresql": lambda: postgresql_rows(url),
    }[kind]()
    assert len(rows) == 70 * 4
    made.check(rows, all_users(gensr))


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    only_these_keys(monkeypatch, tmp_path)
    with s3_server() as server:
        server.empty()
        yield server


def test_answers_on_s3_go_on_where_they_stopped(gensr: Path, service: S3) -> None:
    made = Made(gensr, output="s3://shop/recs", endpoint=service.url, shard_size=20, top_n=3)
    assert made.write(limit=2) is None
    assert len(made.destination.done()) == 2
    manifest = made.write()
    names = [found["Key"] for found in service.client.list_objects_v2(Bucket="shop")["Contents"]]
    parts = [f"recs/{made.batch.name}/recommendations-0000{n}.parquet" for n in range(4)]
    assert sorted(names) == sorted([*parts, f"recs/{made.batch.name}/manifest.json", "recs/latest.json"])
    read = [
        pq.read_table(io.BytesIO(service.client.get_object(Bucket="shop", Key=key)["Body"].read())) for key in parts
    ]
    made.check([row for table in read for row in table.to_pylist()], all_users(gensr))
    assert made.destination.manifest() == manifest


@pytest.mark.parametrize(
    ("output", "endpoint", "said"),
    [
        ("s3://nobodys/recs", None, r"\(s3://nobodys/recs\): there is no such bucket at http://127"),
        ("s3://shop/recs", "http://127.0.0.1:1", r"http://127\.0\.0\.1:1 does not answer"),
    ],
)
def test_a_bucket_that_cannot_be_written_is_said_before_any_work(
    gensr: Path, service: S3, output: str, endpoint: str | None, said: str
) -> None:
    with pytest.raises(DataError, match=said):
        Made(gensr, output=output, endpoint=endpoint or service.url).destination.prepare()
