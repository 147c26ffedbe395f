"""Sources of raw files on other machines and in databases. No source holds a credential."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints, WithJsonSchema

from gensr_model.config.base import Frozen
from gensr_model.config.secrets import ENV, NO_SECRET


def _url(begins: str) -> dict[str, Any]:
    """The pattern that Prefect's server checks before it stores a parameter."""
    return {"pattern": rf"{NO_SECRET}(?:{begins}|{ENV}$)"}


class RemoteFile(Frozen):
    """One file to download. Size and digest are checked where given."""

    url: str = Field(description="URL of http(s), or env:NAME.", json_schema_extra=_url("https?://"))
    bytes: int | None = Field(None, description="Expected size in bytes.")
    sha256: str | None = Field(None, description="Expected SHA-256 digest, in hex.")
    md5: str | None = Field(None, description="Expected MD5 digest, in hex.")


class S3Source(Frozen):
    """Objects below a prefix. Credentials come from the places that AWS's tools read, never from a config."""

    kind: Literal["s3"] = "s3"
    url: Annotated[str, StringConstraints(pattern=rf"^(s3://[^/]|{ENV}$)")] = Field(
        description="s3://bucket/prefix, or env:NAME.", json_schema_extra=_url("s3://[^/]")
    )
    endpoint: Annotated[str, StringConstraints(pattern=rf"^(https?://[^/]|{ENV}$)")] | None = Field(
        None,
        description="Address of another service than AWS: http(s)://host:port, or env:NAME.",
        json_schema_extra=_url("https?://[^/]"),
    )
    anonymous: bool = Field(False, description="Read a public bucket, without signing requests.")


DATABASES = ("postgresql", "sqlite", "duckdb")
_DATABASE = rf"^(?:(?:{'|'.join(DATABASES)})://|{ENV}$)"


def _is_a_database(url: str) -> str:
    if not re.search(_DATABASE, url):
        raise ValueError(
            "this is no address of a database. Give env:NAME, the environment variable that holds "
            "the URL, or a URL without user and password: postgresql://host/name, "
            "sqlite:////folder/file, duckdb:////folder/file."
        )
    return url


def file_of(url: str) -> str:
    """The file path in the URL of an sqlite or duckdb database. Empty for other URLs."""
    match = re.fullmatch(r"(?:sqlite|duckdb):///(.+)", url, re.DOTALL)
    return match[1] if match else ""


Query = Annotated[
    str,
    StringConstraints(pattern=r"\S"),
    WithJsonSchema({"type": "string", "pattern": rf"{NO_SECRET}[\s\S]*\S"}),
]


class SqlSource(Frozen):
    """Tables of a database, one query each. Only ``format: logs`` reads them."""

    kind: Literal["sql"] = "sql"
    url: Annotated[str, AfterValidator(_is_a_database)] = Field(
        description=f"URL of {', '.join(DATABASES)}, or env:NAME.",
        json_schema_extra=_url(f"(?:{'|'.join(DATABASES)})://"),
    )
    events: Query = Field(description="Query that selects the events.")
    items: Query = Field(description="Query that selects the items.")
    users: Query | None = Field(None, description="Query that selects the users.")
    queries: Query | None = Field(
        None, description="Query that selects the text of each search, where events hold only the id of the search."
    )

    @property
    def file(self) -> str:
        """The path of the database file that the URL names. Empty where it names none."""
        return file_of(self.url)

    def tables(self) -> dict[str, str]:
        """The queries by the name of their table."""
        given = {"events": self.events, "items": self.items, "users": self.users, "queries": self.queries}
        return {table: query for table, query in given.items() if query is not None}
