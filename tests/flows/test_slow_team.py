"""An installation on a real PostgreSQL and an S3 service: train, retrain, promote, serve, and keep the password."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import traceback
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
import sqlalchemy
from installed import START_AND_RUN, Installed, wait_for
from postgresql_server import PASSWORD, QUOTED, postgresql_server, programs, with_login
from s3_server import KEYS, S3, only_these_keys, s3_server
from sqlalchemy.ext.asyncio import create_async_engine
from tiny_run import TINY

from flows.local import store_checks
from flows.local.services import ServiceError
from flows.local.stores import ARTIFACTS, MLFLOW_DATABASE, PREFECT_DATABASE, S3_ENDPOINT, Stores

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
CONFIG = TINY | {"analysis": {"enabled": False}}
S3_SECRET = "planted-s3-5d1"
SECRETS = (PASSWORD, QUOTED, S3_SECRET)


@pytest.fixture(scope="module")
def postgresql() -> Iterator[str]:
    """The server's URL up to a database's name, with the login of the user team, who owns two databases."""
    with postgresql_server() as url:
        with psycopg.connect(with_login(url), autocommit=True) as con:
            con.execute(f"create user team password '{PASSWORD}'")
            for name in ("prefect", "mlflow"):
                con.execute(f"create database {name} owner team")
            con.execute("create database foreign_one")
        yield url.replace("://", f"://team:{QUOTED}@").removesuffix("postgres")


@pytest.fixture(scope="module")
def bucket() -> Iterator[S3]:
    with s3_server() as server:
        server.empty()
        yield server


def test_train_retrain_promote_and_serve(postgresql: str, bucket: S3, tmp_path: Path) -> None:
    bucket.empty()
    installed, said = Installed(tmp_path), ""
    installed.environment |= KEYS | {"AWS_SECRET_ACCESS_KEY": S3_SECRET, "AWS_EC2_METADATA_DISABLED": "true"}
    installed.environment |= {
        PREFECT_DATABASE: f"{postgresql}prefect",
        MLFLOW_DATABASE: f"{postgresql}mlflow",
        ARTIFACTS: "s3://shop/gensr",
        S3_ENDPOINT: bucket.url,
    }

    def gensr(*arguments: str, **config: Any) -> str:
        nonlocal said
        status, out, err = installed.command(*arguments, config=config or None)
        said += out + err
        assert status == 0, out + err
        return out

    try:
        summary = installed.summary(gensr("run", **CONFIG))
        assert retrained(installed) == "Completed"
        assert "Prefect data   postgresql://***@127.0.0.1" in (status := gensr("status"))
        assert "MLflow files   s3://shop/gensr" in status
        assert installed.mlflow.get_model_version_by_alias("gensr-tiny", "champion").version == "1"
        installed.mlflow.delete_registered_model_alias("gensr-tiny", "champion")
        gensr("promote", "--version", "1", "--reason", "a test")
        assert installed.mlflow.get_model_version_by_alias("gensr-tiny", "champion").version == "1"
        (tmp_path / "a home" / "champions").rename(tmp_path / "fetched before")
        bucket.asked.clear()
        with installed.serving("--model", "gensr-tiny") as address:
            answer = ask(address)
            assert (answer["version"], len(answer["items"])) == ("1", 3)
        assert bucket.objects_read() > 5, "the served model came from S3"
        arguments = [" ".join(process.cmdline()) for process in installed.processes()]
        assert len(arguments) > 3
    finally:
        installed.command("down")
    kept = {found["Key"] for found in bucket.client.list_objects_v2(Bucket="shop")["Contents"]}
    run = f"gensr/{summary['mlflow']['experiment_id']}/{summary['mlflow']['run_id']}/artifacts"
    assert {f"{run}/summary.json", f"{run}/report.html"} <= kept
    assert not list(installed.home.root.rglob("*.db")), "no database of this machine"
    assert not list(installed.home.mlflow_artifacts.iterdir())
    written = {path: path.read_bytes() for path in installed.home.root.rglob("*") if path.is_file()}
    dumps = {name: dump(f"{postgresql}{name}") for name in ("prefect", "mlflow")}
    assert all("gensr-tiny" in text or "retrain" in text for text in dumps.values()), "the search finds what is there"
    for secret in SECRETS:
        assert not [path for path, content in written.items() if secret.encode() in content]
        assert not [name for name, text in dumps.items() if secret in text]
        assert secret not in said + "".join(arguments)


def retrained(installed: Installed) -> str:
    """The final state of a retraining, which the worker runs as the schedule would."""
    deployment = installed.api("deployments/name/retrain/nightly")["id"]
    run = installed.api(f"deployments/{deployment}/create_flow_run", {"parameters": {"config": CONFIG}})["id"]

    def ended() -> str | None:
        state = installed.api(f"flow_runs/{run}")["state"]
        return str(state["name"]) if state["type"] in ("COMPLETED", "FAILED", "CRASHED") else None

    return str(wait_for(ended, START_AND_RUN, "the retraining"))


def test_each_process_by_itself_as_in_a_container(postgresql: str, tmp_path: Path) -> None:
    """Servers listen on another address than 127.0.0.1, and the worker has a state folder of its own."""
    installed, host = Installed(tmp_path), "127.0.0.2"
    prefect, mlflow = (f"http://{host}:{port}" for port in (installed.prefect_port, installed.mlflow_port))
    common = installed.environment | {"no_proxy": host}
    of_process = {
        "prefect": {PREFECT_DATABASE: f"{postgresql}prefect"},
        "mlflow": {MLFLOW_DATABASE: f"{postgresql}mlflow", "MLFLOW_SERVER_ALLOWED_HOSTS": f"{host}:*"},
        "worker": {"PREFECT_API_URL": f"{prefect}/api", "MLFLOW_TRACKING_URI": mlflow},
    }
    started: list[subprocess.Popen[str]] = []

    def start(name: str, *arguments: str) -> None:
        installed.environment = common | of_process[name] | {"GENSR_HOME": str(tmp_path / name)}
        started.append(installed.begin("up", "--only", name, *arguments))

    def answers(url: str) -> bool:
        assert all(process.poll() is None for process in started), [process.communicate() for process in started]
        try:
            return bool(urllib.request.urlopen(url, timeout=5).status == 200)
        except OSError:
            return False

    def workers() -> list[str]:
        assert started[-1].poll() is None, started[-1].communicate()
        address = f"{prefect}/api/work_pools/gensr/workers/filter"
        request = urllib.request.Request(address, b"{}", {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return [worker["name"] for worker in json.load(answer) if worker["status"] == "ONLINE"]
        except OSError:
            return []

    try:
        start("prefect", "--host", host)
        start("mlflow", "--host", host)
        for url in (f"{prefect}/api/health", f"{mlflow}/health"):
            wait_for(lambda url=url: answers(url), START_AND_RUN, url)
        before = set(workers())
        start("worker")
        (name,) = wait_for(lambda: set(workers()) - before, START_AND_RUN, "the worker")
        assert name.startswith(f"{socket.gethostname()} ")
        environment = psutil.Process(started[-1].pid).environ()
        assert (environment["PREFECT_API_URL"], environment["MLFLOW_TRACKING_URI"]) == (f"{prefect}/api", mlflow)
        assert not [secret for secret in SECRETS if secret in "".join(environment.values())]
    finally:
        for process in reversed(started):
            process.terminate()
        output = "".join(text for process in reversed(started) for text in process.communicate(timeout=60))
    assert "Prefect data: postgresql://***@127.0.0.1" in output
    assert not [secret for secret in SECRETS if secret in output]


def ask(address: str) -> Any:
    body = json.dumps({"user": "nobody", "top_n": 3}).encode()
    request = urllib.request.Request(f"{address}/v1/recommendations", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def dump(url: str) -> str:
    folder = programs()
    assert folder
    return subprocess.run([folder / "pg_dump", url], capture_output=True, check=True, encoding="utf-8").stdout


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("team:", "nobody:"), 'password authentication failed for user "nobody"'),
        ((QUOTED, f"{QUOTED}x"), 'password authentication failed for user "team"'),
        (("mlflow", "mlflo"), 'database "mlflo" does not exist'),
        (("127.0.0.1:", "127.0.0.1:1"), "PostgreSQL cannot be used: .*(refused|invalid)"),
        (("mlflow", "foreign_one"), "the user team may not make tables in the database foreign_one"),
    ],
)
def test_a_database_that_cannot_be_used_is_one_error(postgresql: str, change: tuple[str, str], said: str) -> None:
    given = Stores.of({MLFLOW_DATABASE: f"{postgresql}mlflow".replace(*change)})
    with pytest.raises(ServiceError, match=f"{MLFLOW_DATABASE}.*{said}") as refused:
        store_checks.check(given, [MLFLOW_DATABASE])
    shown = "".join(traceback.format_exception(refused.value))
    assert not [secret for secret in SECRETS if secret in shown]
    assert len(refused.value.full_message.splitlines()) == 1


@pytest.mark.parametrize("option", ["sslmode=disable", "ssl=prefer"])
def test_both_drivers_understand_how_to_encrypt(postgresql: str, option: str) -> None:
    """They name the option differently."""
    given = Stores.of({PREFECT_DATABASE: f"{postgresql}prefect?{option}"})
    store_checks.check(given, [PREFECT_DATABASE])

    async def user() -> Any:
        engine = create_async_engine(given.database(PREFECT_DATABASE, "asyncpg"))
        async with engine.connect() as con:
            found = (await con.execute(sqlalchemy.text("select current_user"))).scalar()
        await engine.dispose()
        return found

    assert asyncio.run(user()) == "team"


def test_a_database_of_a_newer_version_is_refused(postgresql: str) -> None:
    with psycopg.connect(f"{postgresql}mlflow") as con:
        con.execute("create schema newer create table newer.alembic_version (version_num text)")
        con.execute("insert into newer.alembic_version values ('ffff00000000')")
    given = Stores.of({MLFLOW_DATABASE: f"{postgresql}mlflow?options=-csearch_path%3Dnewer"})
    with pytest.raises(ServiceError, match=r"revision ffff00000000, which mlflow 3.* does not know. A newer mlflow"):
        store_checks.check(given, [MLFLOW_DATABASE])


def test_a_bucket_that_cannot_be_used_is_one_error(bucket: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only_these_keys(monkeypatch, tmp_path)
    bucket.empty()

    def check(place: str, endpoint: str) -> None:
        store_checks.check(Stores.of({ARTIFACTS: place, S3_ENDPOINT: endpoint}), [ARTIFACTS])

    check("s3://shop/gensr", bucket.url)
    with pytest.raises(ServiceError, match=rf"{ARTIFACTS} \(s3://nobodys/x\): there is no such bucket at http://127"):
        check("s3://nobodys/x", bucket.url)
    with pytest.raises(ServiceError, match=f"http://127.0.0.1:9 does not answer .*Check {S3_ENDPOINT}"):
        check("s3://shop/gensr", "http://127.0.0.1:9")
    bucket.tell("reset-auth", b"0")
    try:
        with pytest.raises(ServiceError, match=r"access is denied \(.*that they may list, read and write") as refused:
            check("s3://shop/gensr", bucket.url)
    finally:
        bucket.tell("reset-auth", b"inf")
    assert KEYS["AWS_SECRET_ACCESS_KEY"] not in "".join(traceback.format_exception(refused.value))
