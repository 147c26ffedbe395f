"""Reads text files of any size in chunks of whole lines: plain, gzip or zstd, recognised by their first bytes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gensr_model.errors import DataError, EmptyFileError
from tasks.ingest.raw_files import LONGEST_LINE, is_utf8, require_text
from tasks.ingest.rejects import NOT_UTF8, REJECTED

CHUNK = 16 * 2**20  # bytes of unpacked text at a time
_PACKED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_BOM = b"\xef\xbb\xbf"


class Chunk(NamedTuple):
    """Complete lines, each with its line end."""

    text: bytes
    first_line: int  # number of the first line in the file, from 1
    lines: int
    last: bool = False  # no chunk follows


def packing(path: Path) -> str | None:
    """The compression of a file: gzip, zstd or None. Raises DataError for an empty file."""
    with path.open("rb") as file:
        start = file.read(4)
    if not start:
        raise EmptyFileError(f"{path}: the file is empty (0 bytes). Copy or export it again.")
    return next((name for magic, name in _PACKED.items() if start.startswith(magic)), None)


def first_bytes(path: Path, count: int) -> bytes:
    """The first bytes of the unpacked file. Raises DataError as ``chunks`` does."""
    with _opened(path) as stream:
        return _read(stream, count, path)


def chunks(path: Path, size: int | None = None) -> Iterator[Chunk]:
    """The lines of a text file, ``size`` bytes at a time, or ``CHUNK``. The last line gets a line end if it has none.

    Raises DataError, naming the file and the last good line, where the file is empty, truncated, damaged or no text.
    """
    line, rest, empty, size = 1, b"", True, size or CHUNK
    with _opened(path) as stream:
        text = _read(stream, size, path)
        require_text(path, text)
        text = text.removeprefix(_BOM)
        while text:
            following = _read(stream, size, path, line, text)
            if not following and not text.endswith(b"\n"):
                text += b"\n"
            cut = text.rfind(b"\n") + 1
            text, rest = b"".join((rest, memoryview(text)[:cut])) if cut else b"", (b"" if cut else rest) + text[cut:]
            if len(rest) > LONGEST_LINE:
                raise DataError(
                    f"{path}: a line after line {line + text.count(10)} is longer than {LONGEST_LINE} bytes. Expected: "
                    "text with one record per line, which ends in LF or CRLF."
                )
            if text:
                empty = empty and not text.strip()
                count = text.count(b"\n")
                yield Chunk(text, line, count, not following)
                line += count
            text = following
    if empty:
        raise EmptyFileError(f"{path}: the file holds no lines. Copy or export it again.")


def lines_of(chunk: Chunk) -> tuple[pa.Table, pa.Table]:
    """The lines that are not blank with their numbers, and separately those that are not UTF-8."""
    ends = np.flatnonzero(np.frombuffer(chunk.text, np.uint8) == 10) + 1
    offsets = pa.py_buffer(np.concatenate([[0], ends]).astype(np.int32))
    numbers = pa.array(np.arange(len(ends), dtype=np.int64) + chunk.first_line)
    broken = REJECTED.empty_table()
    if is_utf8(chunk.text):
        lines = pa.StringArray.from_buffers(len(ends), offsets, pa.py_buffer(chunk.text))
    else:
        raw = pa.BinaryArray.from_buffers(pa.binary(), len(ends), [None, offsets, pa.py_buffer(chunk.text)]).to_pylist()
        texts = [line.decode("utf-8", "replace") for line in raw]
        bad = [n for n, line in enumerate(raw) if not is_utf8(line)]
        broken = pa.table(
            [numbers.take(bad), pa.repeat(NOT_UTF8, len(bad)), pa.array([texts[n] for n in bad], pa.string())],
            schema=REJECTED,
        )
        good = pa.array(sorted(set(range(len(raw))) - set(bad)), pa.int64())
        lines, numbers = pa.array(texts, pa.string()).take(good), numbers.take(good)
    table = pa.table({"line": lines, "line_no": numbers})
    if not pc.all(pc.starts_with(lines, "{")).as_py():  # blank lines are among the others
        table = table.filter(pc.not_equal(pc.utf8_trim_whitespace(lines), ""))
    return table, broken


def _opened(path: Path) -> pa.NativeFile:
    packed = packing(path)
    file = pa.OSFile(str(path))
    return pa.CompressedInputStream(file, packed) if packed else file


def _read(stream: pa.NativeFile, count: int, path: Path, line: int = 1, before: bytes = b"") -> bytes:
    """Up to ``count`` bytes after the text ``before``, which begins in a line; packed data come in smaller pieces."""
    parts: list[bytes] = []
    size = 0
    try:
        while size < count and (part := stream.read(count - size)):
            parts.append(part)
            size += len(part)
    except OSError as error:
        last = line - 1 + before.count(b"\n") + b"".join(parts).count(b"\n")
        raise DataError(
            f"{path}: the packed file is truncated or damaged after line {max(last, 0)} ({error}). Copy or export it "
            "again."
        ) from error
    return b"".join(parts)
