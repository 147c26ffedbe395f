"""Where the servers keep their data: in the state folder, or in PostgreSQL and S3 that the environment names.

The addresses are in the environment of the server that uses them and nowhere else: not in arguments, which other users
of the machine can read, and not in the environment of runs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import psutil

from flows.local.services import Service, ServiceError, read_record
from gensr_model.config.secrets import scrubbed
from gensr_model.runtime.files import write_json
from tasks.core.state_dir import StateDir

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

PREFECT_DATABASE = "PREFECT_SERVER_DATABASE_CONNECTION_URL"
MLFLOW_DATABASE = "MLFLOW_BACKEND_STORE_URI"
ARTIFACTS = "MLFLOW_ARTIFACTS_DESTINATION"
S3_ENDPOINT = "MLFLOW_S3_ENDPOINT_URL"
PLACES = {PREFECT_DATABASE: "Prefect data", MLFLOW_DATABASE: "MLflow data", ARTIFACTS: "MLflow files"}
_OLDER = "PREFECT_API_DATABASE_CONNECTION_URL"  # Prefect reads both names
# Settings of those places, which only servers get: TLS and sizes of connection pools, the S3 client, allowed hosts.
_SETTINGS = {
    PREFECT_DATABASE: ("PREFECT_SERVER_DATABASE_",),
    MLFLOW_DATABASE: ("MLFLOW_SQLALCHEMYSTORE_", "MLFLOW_S3_", "MLFLOW_BOTO_", "MLFLOW_SERVER_ALLOWED_HOSTS"),
}
_TLS = {"asyncpg": ("sslmode", "ssl"), "psycopg": ("ssl", "sslmode")}  # one option, named differently


class Stores(NamedTuple):
    """The places as a person gave them, and the settings of each server, by the names of variables."""

    given: dict[str, str]
    settings: dict[str, dict[str, str]]

    @staticmethod
    def of(environment: Mapping[str, str]) -> Stores:
        """What the environment names. Nothing is opened."""
        values = {name: environment.get(name, "").strip() for name in PLACES}
        values[PREFECT_DATABASE] = values[PREFECT_DATABASE] or environment.get(_OLDER, "").strip()
        settings = {
            place: {name: value for name, value in environment.items() if name.startswith(prefixes) and value}
            for place, prefixes in _SETTINGS.items()
        }
        return Stores({name: value for name, value in values.items() if value}, settings)

    def database(self, name: str, driver: str) -> URL | None:
        """The PostgreSQL database of a variable, by this driver. None where the variable is not set.

        Raises ServiceError, which names the variable and not its value.
        """
        given = self.given.get(name)
        return None if given is None else _postgresql(name, given, driver)

    def of_prefect(self, where: StateDir) -> dict[str, str]:
        """The environment of Prefect's server."""
        url = self.database(PREFECT_DATABASE, "asyncpg")
        if url is None:
            return {PREFECT_DATABASE: f"sqlite+aiosqlite:///{where.root / 'prefect' / 'prefect.db'}"}
        return self.settings[PREFECT_DATABASE] | {PREFECT_DATABASE: url.render_as_string(hide_password=False)}

    def of_mlflow(self, where: StateDir) -> dict[str, str]:
        """The environment of MLflow's server."""
        url = self.database(MLFLOW_DATABASE, "psycopg")
        database = where.mlflow_store if url is None else url.render_as_string(hide_password=False)
        place = self.given.get(ARTIFACTS) or where.mlflow_artifacts.as_uri()
        if not place.startswith(("s3://", "file:///")):
            raise ServiceError(f"{ARTIFACTS}: set it to s3://bucket/prefix, or unset it to keep files in {where.root}.")
        return self.settings[MLFLOW_DATABASE] | {MLFLOW_DATABASE: database, ARTIFACTS: place}


def shown(value: str | None) -> str:
    """A place without a secret. None is a place in the state folder."""
    if value is None or not value.startswith(("postgres", "s3:")):
        return "in the state folder"
    return scrubbed(re.sub(r"^(\w+)\+\w+:", r"\1:", value))  # without the driver


def in_use(service: Service, where: StateDir) -> dict[str, str] | None:
    """The places that a running server uses, as its environment has them. None where it is down."""
    known = read_record(where.services, service.name)
    if known is None or not known.alive():
        return None
    environment = psutil.Process(known.pid).environ()
    return {name: environment[name] for name in PLACES if name in environment}


def check_same(service: Service, where: StateDir, wanted: Mapping[str, str], given: Mapping[str, str]) -> None:
    """Raise ServiceError where the server is up and uses another place than a variable names now."""
    if (running := in_use(service, where)) is None:
        return
    for name in (each for each in given if each in wanted):
        now, then = shown(wanted[name]), shown(running.get(name))
        if now != then:
            raise ServiceError(
                f"the {service.name} of this folder is up and has its data {then}, but {name} is {now}. Run `gensr "
                "down` first."
            )


def remembered(where: StateDir) -> dict[str, str]:
    """The places outside the state folder in which its servers had their data at the last start, without secrets."""
    file = _memory(where)
    content: dict[str, str] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return content


def check_remembered(where: StateDir, wanted: Collection[str], given: Mapping[str, str]) -> None:
    """Raise ServiceError where data are elsewhere and no variable says so now: the server would begin empty."""
    for name, place in remembered(where).items():
        if name in wanted and name not in given:
            raise ServiceError(
                f"{PLACES[name]} of this folder are in {place}, and {name} is not set. Set it, or delete "
                f"{_memory(where)} to go on without them, in the state folder."
            )


def remember(where: StateDir, wanted: Collection[str], given: Mapping[str, str]) -> None:
    """Note where servers have their data from now on."""
    places = {name: shown(value) for name, value in given.items() if name in wanted}
    if places:
        write_json(_memory(where), remembered(where) | places)


def _memory(where: StateDir) -> Path:
    return where.root / "places.json"


def _postgresql(name: str, given: str, driver: str) -> URL:
    from sqlalchemy.engine import make_url  # a fifth of a second
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(given)
    except (ArgumentError, ValueError):  # their text may repeat the URL
        url = None
    if url is None or url.drivername.partition("+")[0] not in ("postgresql", "postgres") or not url.database:
        raise ServiceError(
            f"{name}: this is no URL of a PostgreSQL database. Set it to postgresql://user@host:5432/name, and the "
            "password in PGPASSWORD or ~/.pgpass; or unset it for SQLite."
        ) from None
    theirs, ours = _TLS[driver]
    options = {ours if key == theirs else key: value for key, value in url.query.items()}
    return url.set(drivername=f"postgresql+{driver}", query=options)
