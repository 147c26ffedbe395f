"""Where servers keep their data: what variables mean, what may be shown of them, and what stops a start."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from flows.local import servers, services, store_checks, stores
from flows.local.installation import Local
from flows.local.services import Running, ServiceError
from flows.local.stores import ARTIFACTS, MLFLOW_DATABASE, PREFECT_DATABASE, S3_ENDPOINT, Stores
from tasks.core.state_dir import StateDir, server_environment

SECRET = "hunter2-9f%2F3%40b"
DATABASES = {
    PREFECT_DATABASE: f"postgresql://team:{SECRET}@db:5433/prefect?sslmode=require",
    MLFLOW_DATABASE: f"postgresql+psycopg2://team:{SECRET}@db/mlflow?ssl=require",
}
S3 = {ARTIFACTS: "s3://team/gensr", S3_ENDPOINT: "http://minio:9000"}


def local(root: Path, **given: str) -> Local:
    where = StateDir(root)
    return Local(where, 4200, 5000, server_environment(where, 4200, 5000), Stores.of(given))


def test_without_variables_all_data_are_in_the_state_folder(tmp_path: Path) -> None:
    here = local(tmp_path)
    prefect, mlflow = here.of_server(here.prefect_server), here.of_server(here.mlflow_server)
    assert prefect == {PREFECT_DATABASE: f"sqlite+aiosqlite:///{tmp_path}/prefect/prefect.db"}
    assert mlflow == {
        MLFLOW_DATABASE: f"sqlite:///{tmp_path}/mlflow/mlflow.db",
        ARTIFACTS: f"file://{tmp_path}/mlflow/artifacts",
    }


def test_each_server_gets_its_own_database_by_its_own_driver(tmp_path: Path) -> None:
    here = local(tmp_path, **DATABASES, **S3, PREFECT_SERVER_DATABASE_TIMEOUT="60", MLFLOW_TRACKING_TOKEN="theirs")
    assert here.of_server(here.prefect_server) == {
        PREFECT_DATABASE: f"postgresql+asyncpg://team:{SECRET}@db:5433/prefect?ssl=require",
        "PREFECT_SERVER_DATABASE_TIMEOUT": "60",
    }
    database = f"postgresql+psycopg://team:{SECRET}@db/mlflow?sslmode=require"
    assert here.of_server(here.mlflow_server) == {MLFLOW_DATABASE: database, **S3}


def test_no_secret_reaches_an_argument_or_the_environment_of_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (DATABASES | S3).items():
        monkeypatch.setenv(name, value)
    here = local(tmp_path, **DATABASES, **S3)
    assert SECRET not in repr([service.command for service in here.services])
    assert not {name for name, value in here.environment.items() if SECRET in value}


@pytest.mark.parametrize("older", ["", "sqlite:///mine.db", "postgresql://team@db/old"])
def test_prefects_older_name_of_its_variable_is_read_after_the_newer(tmp_path: Path, older: str) -> None:
    newer = f"postgresql://team:{SECRET}@db/prefect"
    both = local(tmp_path, PREFECT_API_DATABASE_CONNECTION_URL=older, PREFECT_SERVER_DATABASE_CONNECTION_URL=newer)
    assert both.stores.given == {PREFECT_DATABASE: newer}
    assert Stores.of({"PREFECT_API_DATABASE_CONNECTION_URL": older}).given.get(PREFECT_DATABASE, "") == older


@pytest.mark.parametrize(
    "url", [f"mysql://team:{SECRET}@db/mlflow", f"postgresql://team:{SECRET}@db", f"team:{SECRET}@db", "postgresql://["]
)
def test_what_is_no_postgresql_names_the_variable_and_not_its_value(tmp_path: Path, url: str) -> None:
    here = local(tmp_path, MLFLOW_BACKEND_STORE_URI=url)
    with pytest.raises(ServiceError, match="MLFLOW_BACKEND_STORE_URI: this is no URL of a PostgreSQL") as refused:
        here.of_server(here.mlflow_server)
    assert SECRET not in str(refused.value)


def test_files_go_to_s3_or_to_a_folder(tmp_path: Path) -> None:
    here = local(tmp_path, MLFLOW_ARTIFACTS_DESTINATION="gs://team/gensr")
    with pytest.raises(ServiceError, match="set it to s3://bucket/prefix"):
        here.of_server(here.mlflow_server)
    half = local(tmp_path, MLFLOW_ARTIFACTS_DESTINATION="s3://team/gensr")
    assert half.of_server(half.mlflow_server)[MLFLOW_DATABASE].startswith("sqlite:///")


def test_two_servers_in_one_database_are_refused(tmp_path: Path) -> None:
    one = {PREFECT_DATABASE: "postgresql://a@db/one", MLFLOW_DATABASE: "postgresql://b@db:5432/one"}
    with pytest.raises(ServiceError, match="name one database"):
        store_checks.check(Stores.of(one), stores.PLACES)


def test_status_says_where_data_are_and_hides_the_password(tmp_path: Path) -> None:
    given = DATABASES | {ARTIFACTS: "s3://team/gensr"}
    lines = dict(line.split(maxsplit=2)[0::2] for line in servers.status(local(tmp_path)) if " data " in line)
    assert set(lines.values()) == {"in the state folder"}
    said = servers.status(local(tmp_path, **given))
    assert "Prefect data   postgresql://***@db:5433/prefect?sslmode=require" in said
    assert "MLflow files   s3://team/gensr" in said
    assert SECRET not in "".join(said)


def test_data_that_were_elsewhere_are_not_forgotten_in_a_shell_without_variables(tmp_path: Path) -> None:
    """Else a server would begin empty, and the next retraining would make a first champion."""
    there, here = local(tmp_path, **DATABASES), local(tmp_path)
    stores.remember(there.where, there.of_server(there.mlflow_server), there.stores.given)
    assert SECRET not in (tmp_path / "places.json").read_text(encoding="utf-8")
    stores.check_remembered(there.where, there.of_server(there.mlflow_server), there.stores.given)
    stores.check_remembered(here.where, here.of_server(here.prefect_server), here.stores.given)
    with pytest.raises(ServiceError, match=r"MLflow data of this folder are in postgresql://\*.*places.json to go"):
        stores.check_remembered(here.where, here.of_server(here.mlflow_server), here.stores.given)
    assert "MLflow data    postgresql://***@db/mlflow?ssl=require" in servers.status(here)


def test_a_server_that_is_up_with_other_data_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of the running server says what it uses; here that of this process."""
    here = local(tmp_path, **DATABASES)
    server, wanted = here.mlflow_server, here.of_server(here.mlflow_server)
    stores.check_same(server, here.where, wanted, here.stores.given)  # none is up
    here.where.services.mkdir()
    process = psutil.Process(os.getpid())
    services.write_record(server, here.where.services, Running(process.pid, process.create_time(), "token", 5000))
    monkeypatch.setattr(psutil.Process, "environ", lambda _: wanted)
    stores.check_same(server, here.where, wanted, here.stores.given)
    monkeypatch.setattr(psutil.Process, "environ", lambda _: {})
    stores.check_same(server, here.where, wanted, {})  # who names nothing uses what is up
    with pytest.raises(
        ServiceError, match=r"is up and has its data in the state folder, but MLFLOW_.*\*\*\*@db/mlflow"
    ):
        stores.check_same(server, here.where, wanted, here.stores.given)
