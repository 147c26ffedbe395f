"""Reads text files of any size in chunks of whole lines: plain, gzip or zstd, recognised by their first bytes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from gensr_model.errors import DataError, EmptyFileError
from tasks.ingest.raw_files import LONGEST_LINE, require_text

CHUNK = 16 * 2**20  # bytes of unpacked text at a time
_PACKED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_BOM = b"\xef\xbb\xbf"


class Chunk(NamedTuple):
    """Complete lines, each with its line end."""

    text: bytes
    first_line: int  # number of the first line in the file, from 1
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


def chunks(path: Path) -> Iterator[Chunk]:
    """The lines of a text file. The last line gets a line end if it has none.

    Raises DataError, naming the file and the last good line, where the file is empty, truncated, damaged or no text.
    """
    line, rest, empty = 1, b"", True
    with _opened(path) as stream:
        text = _read(stream, CHUNK, path)
        require_text(path, text)
        text = text.removeprefix(_BOM)
        while text:
            following = _read(stream, CHUNK, path, line, text)
            text = rest + text
            if not following and not text.endswith(b"\n"):
                text += b"\n"
            cut = text.rfind(b"\n") + 1
            text, rest = text[:cut], text[cut:]
            if len(rest) > LONGEST_LINE:
                raise DataError(
                    f"{path}: a line after line {line + text.count(10)} is longer than {LONGEST_LINE} bytes. Expected: "
                    "text with one record per line, which ends in LF or CRLF."
                )
            if text:
                empty = empty and not text.strip()
                yield Chunk(text, line, not following)
                line += text.count(b"\n")
            text = following
    if empty:
        raise EmptyFileError(f"{path}: the file holds no lines. Copy or export it again.")


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
