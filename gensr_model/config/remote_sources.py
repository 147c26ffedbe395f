"""Sources of raw files on other machines and in databases. None holds a credential."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints, WithJsonSchema

from gensr_model.config.base import Frozen
from gensr_model.config.secrets import ENV, NO_SECRET


def _url(begins: str) -> dict[str, Any]:
    """What Prefect's server checks before it keeps a parameter."""
    return {"pattern": rf"{NO_SECRET}(?:{begins}|{ENV}$)"}


class RemoteFile(Frozen):
    """One file to download; size and digest are checked where given."""

    url: str = Field(description="of http(s), or env:NAME", json_schema_extra=_url("https?://"))
    bytes: int | None = None
    sha256: str | None = None
    md5: str | None = None


class S3Source(Frozen):
    """Objects below a prefix. Credentials come from where AWS's own tools find them, never from a config."""

    kind: Literal["s3"] = "s3"
    url: Annotated[str, StringConstraints(pattern=rf"^(s3://[^/]|{ENV}$)")] = Field(
        description="s3://bucket/prefix, or env:NAME", json_schema_extra=_url("s3://[^/]")
    )
    endpoint: Annotated[str, StringConstraints(pattern=rf"^(https?://[^/]|{ENV}$)")] | None = Field(
        None, description="of another service than AWS, http(s)://host:port", json_schema_extra=_url("https?://[^/]")
    )
    anonymous: bool = Field(False, description="a public bucket: sign no request")


DATABASES = ("postgresql", "sqlite", "duckdb")
_DATABASE = rf"^(?:(?:{'|'.join(DATABASES)})://|{ENV}$)"


def _is_a_database(url: str) -> str:
    if not re.search(_DATABASE, url):
        raise ValueError(
            "this is no address of a database: expected env:NAME, the environment variable that holds the URL, or a "
            "URL without user and password: postgresql://host/name, sqlite:////folder/file, duckdb:////folder/file"
        )
    return url


def file_of(url: str) -> str:
    """The path in the URL of a database that is a file, sqlite or duckdb; empty for another."""
    match = re.fullmatch(r"(?:sqlite|duckdb):///(.+)", url, re.DOTALL)
    return match[1] if match else ""


Query = Annotated[
    str,
    StringConstraints(pattern=r"\S"),
    WithJsonSchema({"type": "string", "pattern": rf"{NO_SECRET}[\s\S]*\S"}),
]


class SqlSource(Frozen):
    """Tables of a database, each by a query; ``format: logs`` reads them."""

    kind: Literal["sql"] = "sql"
    url: Annotated[str, AfterValidator(_is_a_database)] = Field(
        description=f"of {', '.join(DATABASES)}, or env:NAME", json_schema_extra=_url(f"(?:{'|'.join(DATABASES)})://")
    )
    events: Query = Field(description="a select of the events")
    items: Query = Field(description="a select of the items")
    users: Query | None = None
    queries: Query | None = Field(None, description="a select of the searches, where events have their ids alone")

    @property
    def file(self) -> str:
        """The path of the database file that the URL itself names; empty where it names none."""
        return file_of(self.url)

    def tables(self) -> dict[str, str]:
        """The queries by the table that they make."""
        given = {"events": self.events, "items": self.items, "users": self.users, "queries": self.queries}
        return {table: query for table, query in given.items() if query is not None}
