"""Tables that are read twice: first from a raw file, then from memory or a temporary file."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

IN_MEMORY = 256 * 2**20  # bytes in memory before they go to a file


class Staged:
    """Tables of one schema, in order of addition. The file in ``folder`` is deleted with the object."""

    def __init__(self, folder: Path) -> None:
        self._held: list[pa.Table] = []
        self._bytes = 0
        self._folder = folder
        self._file: tempfile._TemporaryFileWrapper[bytes] | None = None
        self._writer: pa.RecordBatchStreamWriter | None = None

    def add(self, table: pa.Table) -> None:
        self._held.append(table)
        self._bytes += table.nbytes
        if self._bytes > IN_MEMORY:
            self._flush()

    def _flush(self) -> None:
        if self._file is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._file = tempfile.NamedTemporaryFile(dir=self._folder, suffix=".arrow")  # noqa: SIM115
            options = pa.ipc.IpcWriteOptions(compression="lz4")
            self._writer = pa.ipc.new_stream(self._file, self._held[0].schema, options=options)
        assert self._writer is not None
        for table in self._held:
            self._writer.write_table(table)
        self._held, self._bytes = [], 0

    def __iter__(self) -> Iterator[pa.Table]:
        """The tables, readable once. Nothing can be added afterwards."""
        if self._file is not None and self._writer is not None:
            self._writer.close()
            self._file.flush()
            self._file.seek(0)
            with pa.ipc.open_stream(self._file) as reader:
                for batch in reader:
                    yield pa.Table.from_batches([batch])
            self._file.close()
        yield from self._held
