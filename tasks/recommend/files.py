"""Answers as Parquet files: a folder for each batch, on this machine or on S3, and ``latest.json`` that names one.

What a shard holds stands in the metadata of its file, so that a killed batch knows what is done.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
from botocore.exceptions import BotoCoreError, ClientError

from gensr_model.config.secrets import resolved, scrubbed
from gensr_model.errors import DataError
from gensr_model.runtime.files import write_bytes
from tasks.core.object_storage import client, reason
from tasks.recommend.rows import FIELD, Counts

MANIFEST, LATEST = "manifest.json", "latest.json"
_COUNTS = b"gensr"


class _Files(ABC):
    """Files below a root, each written whole."""

    def __init__(self, place: str, batch: str) -> None:
        self.place, self.batch = place, batch

    def done(self) -> dict[str, Counts]:
        with self._errors():
            names = [name for name in self._names() if name.endswith(".parquet")]
            return {name.removesuffix(".parquet"): self._counts(f"{self.batch}/{name}") for name in names}

    def write(self, shard: str, rows: pa.Table, counts: Counts) -> None:
        out = io.BytesIO()
        pq.write_table(rows.replace_schema_metadata({_COUNTS: json.dumps(counts)}), out, compression="zstd")
        with self._errors():
            self._put(f"{self.batch}/{shard}.parquet", out.getvalue())

    def manifest(self) -> dict[str, Any] | None:
        with self._errors():
            names = set(self._names())
            if MANIFEST not in names:
                return None
            with self._opened(f"{self.batch}/{MANIFEST}") as file:
                content: dict[str, Any] = json.loads(file.read())
        whole = names >= {f"{shard}.parquet" for shard in content["shards"]}
        return content if whole else None  # else somebody deleted files, which are made again

    def finish(self, manifest: dict[str, Any]) -> None:
        text = json.dumps(manifest, indent=1, ensure_ascii=False).encode()
        with self._errors():
            self._put(f"{self.batch}/{MANIFEST}", text)
            self._put(LATEST, text)  # the last step: who reads it finds whole batches only

    def _counts(self, name: str) -> Counts:
        with self._opened(name) as file:
            content: Counts = json.loads(pq.read_metadata(file).metadata[_COUNTS])
        return content

    @abstractmethod
    def _names(self) -> list[str]:
        """The names of the files in the batch's folder."""

    @abstractmethod
    def _opened(self, name: str) -> AbstractContextManager[BinaryIO]:
        """A file below the root, to read."""

    @abstractmethod
    def _put(self, name: str, content: bytes) -> None:
        """Write a file below the root."""

    @abstractmethod
    def _errors(self) -> AbstractContextManager[None]:
        """Raise errors of the storage as one DataError."""


class FolderDestination(_Files):
    """A folder of this machine."""

    def __init__(self, root: Path, given: str, batch: str) -> None:
        super().__init__(given, batch)
        self.root = root

    def prepare(self) -> None:
        with self._errors():
            folder = self.root / self.batch
            folder.mkdir(parents=True, exist_ok=True)
            for rest in folder.glob("*.tmp-*"):  # of a killed process
                rest.unlink()
            probe = folder / f".probe-{os.getpid()}"
            probe.touch()
            probe.unlink()

    def _names(self) -> list[str]:
        return sorted(path.name for path in (self.root / self.batch).glob("*"))

    def _opened(self, name: str) -> AbstractContextManager[BinaryIO]:
        return (self.root / name).open("rb")

    def _put(self, name: str, content: bytes) -> None:
        write_bytes(self.root / name, content)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or str(error)
            message = f"{FIELD}: {self.place} cannot be written: {reason}. Give a folder that you may write."
            raise DataError(message) from error


class S3Destination(_Files):
    """A prefix of a bucket. Credentials come from the places that AWS's tools read."""

    def __init__(self, address: str, given: str, endpoint: str | None, batch: str) -> None:
        super().__init__(given, batch)
        self._where = endpoint or "AWS"
        url = resolved(endpoint, "recommend.endpoint") if endpoint else None
        self._root = address.removeprefix("s3://").rstrip("/")
        self._secrets = {address, url} - {given, endpoint}
        self._service = client(url)

    def prepare(self) -> None:
        probe = f"{self.batch}/.probe"
        with self._errors():
            self._put(probe, b"")
            self._service.rm_file(f"{self._root}/{probe}")

    def _names(self) -> list[str]:
        try:
            found = self._service.ls(f"{self._root}/{self.batch}", detail=False, refresh=True)
        except FileNotFoundError:  # S3 has no empty folders
            return []
        return sorted(key.rpartition("/")[2] for key in found)

    def _opened(self, name: str) -> AbstractContextManager[BinaryIO]:
        opened: AbstractContextManager[BinaryIO] = self._service.open(f"{self._root}/{name}", "rb")
        return opened

    def _put(self, name: str, content: bytes) -> None:
        self._service.pipe_file(f"{self._root}/{name}", content)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, BotoCoreError, ClientError) as error:
            text = reason(error, self._where, FIELD, "recommend.endpoint", "list, read and write there")
            # from None: the logged trace then has no message of the library, which may quote a URL
            raise DataError(f"{FIELD} ({self.place}): {scrubbed(text, *self._secrets)}") from None
