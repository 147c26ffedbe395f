"""Checks of the databases and the bucket that servers shall use, before any server starts: one clear error each."""

from __future__ import annotations

import re
from collections.abc import Collection
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from flows.local.services import ServiceError
from flows.local.stores import ARTIFACTS, MLFLOW_DATABASE, PREFECT_DATABASE, S3_ENDPOINT, Stores
from gensr_model.config.secrets import scrubbed
from gensr_model.errors import DataError

_PROBE = "written-by-gensr-up"  # an object below the prefix, which no run reads


class _Schema(NamedTuple):
    """The package whose schema a database has, and the folder of its migrations."""

    package: str
    migrations: str


_SCHEMAS = {
    PREFECT_DATABASE: _Schema("prefect", "server/database/_migrations/versions/postgresql"),
    MLFLOW_DATABASE: _Schema("mlflow", "store/db_migrations/versions"),
}


def check(stores: Stores, names: Collection[str]) -> None:
    """Open the places of these variables. Raises ServiceError, without a secret, for the first that cannot be used."""
    urls = {name: url for name in _SCHEMAS if (url := stores.database(name, "psycopg"))}
    if len(urls) == 2 and len({(url.host, url.port or 5432, url.database) for url in urls.values()}) == 1:
        raise ServiceError(
            f"{PREFECT_DATABASE} and {MLFLOW_DATABASE} name one database. Their tables would meet: make a second one, "
            "for example by `createdb mlflow`."
        )
    for name in (each for each in urls if each in names):
        _check_database(name, urls[name], stores.given[name])
    if ARTIFACTS in names and stores.given.get(ARTIFACTS, "").startswith("s3://"):
        _check_bucket(stores)


def _check_database(name: str, url: sa.URL, given: str) -> None:
    from tasks.ingest.sources.database import CONNECT_S, one_error, secrets_of  # DuckDB: half a second

    engine = sa.create_engine(url, connect_args={"connect_timeout": CONNECT_S}, poolclass=NullPool)
    hint = "Check the server, the user, the password (PGPASSWORD or ~/.pgpass) and the database."
    try:
        with one_error(f"{name}: PostgreSQL cannot be used", secrets_of(given, name), hint), engine.connect() as con:
            _check_schema(name, con)
            _check_rights(name, con)
    except DataError as error:
        raise ServiceError(error.full_message) from None


def _check_schema(name: str, con: sa.Connection) -> None:
    schema = _SCHEMAS[name]
    if con.execute(sa.text("select to_regclass('alembic_version')")).scalar() is None:
        return  # an empty database, in which the server makes its tables
    package = find_spec(schema.package)
    assert package is not None
    assert package.origin is not None
    files = (Path(package.origin).parent / schema.migrations).glob("*.py")
    known = {r for f in files for r in re.findall(r"^revision\b.*[\"'](\w+)[\"']", f.read_text("utf-8"), re.MULTILINE)}
    for revision in con.execute(sa.text("select version_num from alembic_version")).scalars():
        if revision not in known:
            raise ServiceError(
                f"{name}: the tables of this database have revision {revision}, which {schema.package} "
                f"{metadata.version(schema.package)} does not know. A newer {schema.package} or another program made "
                "them: update gensr, or name another database."
            )


def _check_rights(name: str, con: sa.Connection) -> None:
    if not con.execute(sa.text("select has_schema_privilege(current_schema(), 'create')")).scalar():
        user, database = con.execute(sa.text("select current_user, current_database()")).one()
        raise ServiceError(
            f"{name}: the user {user} may not make tables in the database {database}. As its owner or superuser: "
            f'alter database "{database}" owner to "{user}".'
        )
    if name == PREFECT_DATABASE and not _holds(con, "from pg_extension where extname = 'pg_trgm'"):
        if not _holds(con, "from pg_available_extensions where name = 'pg_trgm'"):
            raise ServiceError(
                f"{name}: PostgreSQL lacks the extension pg_trgm. Install the package postgresql-contrib."
            )
        if not _holds(con, "where has_database_privilege(current_database(), 'create')"):
            raise ServiceError(
                f"{name}: the user may not add the extension pg_trgm. As superuser: create extension pg_trgm."
            )


def _holds(con: sa.Connection, condition: str) -> bool:
    return con.execute(sa.text(f"select 1 {condition}")).scalar() is not None


def _check_bucket(stores: Stores) -> None:
    """Write, read and list below the prefix, as MLflow's server will."""
    from botocore.exceptions import BotoCoreError, ClientError

    from tasks.core.object_storage import client, reason

    endpoint = stores.settings[MLFLOW_DATABASE].get(S3_ENDPOINT)
    folder = stores.given[ARTIFACTS].removeprefix("s3://").rstrip("/")
    try:
        service = client(endpoint)
        service.pipe_file(f"{folder}/{_PROBE}", b"")
        service.cat_file(f"{folder}/{_PROBE}")
        service.ls(folder)
    except (OSError, BotoCoreError, ClientError) as error:
        why = scrubbed(reason(error, endpoint or "AWS", ARTIFACTS, S3_ENDPOINT, "list, read and write there"))
        raise ServiceError(f"{ARTIFACTS} ({stores.given[ARTIFACTS]}): {why}") from None
