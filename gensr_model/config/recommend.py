"""Config of ``recommend/batch``."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar

from pydantic import Field, StringConstraints, field_validator

from gensr_model.config.base import Frozen
from gensr_model.config.remote_sources import file_of
from gensr_model.config.secrets import ENV, NO_SECRET

ALL, NONE = "all", "none"
_TEXT: dict[str, Any] = {"pattern": rf"{NO_SECRET}[\s\S]*\S"}
_ADDRESS = re.compile(rf"{ENV}|[A-Za-z][A-Za-z0-9+.-]*://[\s\S]*")
Identifier = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,50}$")]


class RecommendConfig(Frozen):
    """``recommend/batch``: the best items for many users, and results for many searches, written for others to read."""

    concurrency: ClassVar[int] = 1  # shards at once on one machine: a model uses all of its cores

    version: str | None = Field(
        None,
        pattern=r"^[1-9][0-9]*$",
        description="Version of the registered model that answers. Left out: the champion.",
    )
    users: str = Field(
        ALL,
        json_schema_extra=_TEXT,
        description="Who gets recommendations: all, none, or the path of a CSV or Parquet file with a column `user`. "
        "all: every user that the model knows.",
    )
    queries: str | None = Field(
        None,
        json_schema_extra=_TEXT,
        description="Path of a CSV or Parquet file with the columns `user` and `query`. Each pair gets results.",
    )
    top_n: int = Field(10, ge=1, description="Largest number of items for each user, and of results for each pair.")
    leave_out_met: bool = Field(
        True, description="Recommend no item that the user has met. The results of a search leave out nothing."
    )
    output: str | None = Field(
        None,
        json_schema_extra=_TEXT,
        description="Path of a folder, s3://bucket/prefix, URL of a postgresql or sqlite database, or env:NAME. Left "
        "out: the folder `recommendations` of the state folder.",
    )
    table: Identifier = Field("recommendations", description="Table of the database.")
    endpoint: Annotated[str, StringConstraints(pattern=rf"^(https?://[^/]|{ENV}$)")] | None = Field(
        None,
        description="Address of another S3 service than AWS: http(s)://host:port, or env:NAME.",
        json_schema_extra={"pattern": rf"{NO_SECRET}(?:https?://[^/]|{ENV}$)"},
    )
    shard_size: int = Field(
        10_000,
        ge=1,
        description="Users, or pairs, that are written at once. A killed run goes on behind the last shard.",
    )
    dask: str | None = Field(
        None,
        min_length=1,
        description="Address of a Dask scheduler (tcp://host:8786). Its workers share the shards. Left out: this "
        "machine makes all of them.",
    )

    @field_validator("users", "queries", "output")
    @classmethod
    def _is_not_blank(cls, given: str | None) -> str | None:
        if given is not None and not given.strip():
            raise ValueError(f"{given!r} is blank. Give a path, or leave the field out.")
        return given

    def paths(self) -> dict[str, tuple[str, str]]:
        """The fields that name a file or a folder of this machine: what stands before the path, and the path."""
        given = {"users": self.users, "queries": self.queries, "output": self.output}
        paths = {}
        for name, value in given.items():
            if value is None or (name == "users" and value in (ALL, NONE)):
                continue
            if file := file_of(value):
                paths[name] = (value.removesuffix(file), file)
            elif not _ADDRESS.fullmatch(value):
                paths[name] = ("", value)
        return paths
