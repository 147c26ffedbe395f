"""Where the answers of a batch go: a folder, S3 or a database. Each shard appears whole, or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from gensr_model.config.recommend import RecommendConfig
from gensr_model.config.secrets import resolved
from gensr_model.errors import ConfigError
from tasks.core.state_dir import state_dir
from tasks.recommend.rows import FIELD, Counts


class Destination(Protocol):
    """A place for the answers of one batch. ``place`` names it without a secret."""

    place: str

    def prepare(self) -> None:
        """Check that answers can be written, before any is made. Raises DataError or ConfigError."""

    def done(self) -> dict[str, Counts]:
        """The shards that are written, and what each holds."""
        ...

    def write(self, shard: str, rows: pa.Table, counts: Counts) -> None:
        """Write a shard. A shard that is written again replaces itself."""

    def manifest(self) -> dict[str, Any] | None:
        """The manifest of the finished batch. None before its end."""
        ...

    def finish(self, manifest: dict[str, Any]) -> None:
        """Write the manifest, when all shards are there."""


def open_destination(settings: RecommendConfig, batch: str) -> Destination:
    """The destination that the config names, for one batch. Nothing is written.

    Raises ConfigError for an address of another kind, or an environment variable that is not set.
    """
    given = settings.output or str(state_dir().root / "recommendations")
    address = resolved(given, FIELD)
    scheme = address.partition("://")[0] if "://" in address else ""
    if not scheme:
        from tasks.recommend.files import FolderDestination

        return FolderDestination(Path(address).expanduser(), given, batch)
    if scheme == "s3":
        from tasks.recommend.files import S3Destination  # botocore: a second

        return S3Destination(address, given, settings.endpoint, batch)
    if scheme == "sqlite" or scheme.partition("+")[0] in ("postgresql", "postgres"):
        from tasks.recommend.database import SqlDestination  # SQLAlchemy: a second

        return SqlDestination(address, given, settings.table, batch)
    kind = f"{scheme}://" if address == given else "an address of another kind"
    raise ConfigError(
        f"{FIELD} ({given}): answers cannot be written to {kind}. Give a folder, s3://bucket/prefix, "
        "postgresql://host/name, sqlite:////folder/file, or env:NAME for a variable with one of them."
    )
