"""Reads raw text files block by block. Every line is counted, and a damaged file is an error.

DuckDB and pandas can skip what they cannot read; here nothing is skipped silently. Gzip is recognised by its first
bytes, because browsers and mirrors often unpack a ``.gz`` without renaming it.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import itertools
import zlib
from collections.abc import Iterator
from io import BufferedIOBase, BufferedReader
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gensr_model.errors import DataError, EmptyFileError

BLOCK = 16 * 2**20  # bytes of unpacked text at a time
PIECE = 2**20
SPAN = 8  # blocks of a plain file that are one piece of work
LONGEST_LINE = 64 * 2**20  # a file with a longer line is no line-based text

_GZIP = b"\x1f\x8b"
# First bytes of files that are no UTF-8 text, their kind, and what to do. Longer marks come first.
_MARKS = (
    (b"\xff\xfe\x00\x00", "UTF-32"),
    (b"\x00\x00\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
    (b"PK\x03\x04", "a zip archive or a spreadsheet"),
    (b"\xd0\xcf\x11\xe0", "a spreadsheet"),
    (b"\x28\xb5\x2f\xfd", "packed by zstd"),
    (b"BZh", "packed by bzip2"),
    (b"\xfd7zXZ", "packed by xz"),
    (b"7z\xbc\xaf", "packed by 7-Zip"),
    (b"PAR1", "a Parquet file"),
)


class Lines(NamedTuple):
    """A block of complete, non-blank lines and their numbers in the file (from 1)."""

    lines: list[bytes]  # without line ends
    numbers: np.ndarray  # (lines,) int64


class Span(NamedTuple):
    """Some blocks of a text file, from block ``first`` up to ``stop``, or to the end where that is None.

    ``lines`` is the number of line ends before the span. A block is ``BLOCK`` bytes; the line that a block ends in
    belongs to the next one.
    """

    first: int = 0
    stop: int | None = None
    lines: int = 0


WHOLE = Span()


def spans_of(path: Path) -> tuple[Span, ...]:
    """The spans that can be read apart, without their ``lines``. A packed or small file is one span."""
    size = path.stat().st_size
    with path.open("rb") as raw:
        packed = raw.read(2) == _GZIP
    if packed or size <= SPAN * BLOCK:
        return (WHOLE,)
    starts = range(0, -(-size // BLOCK), SPAN)
    return (*(Span(first, first + SPAN) for first in starts[:-1]), Span(starts[-1]))


def line_ends(path: Path, span: Span) -> int:
    """Number of line ends in the bytes of a span of a plain file."""
    with path.open("rb") as raw:
        raw.seek(span.first * BLOCK)
        blocks = iter(functools.partial(raw.read, BLOCK), b"")
        return sum(block.count(b"\n") for block in itertools.islice(blocks, span.stop and span.stop - span.first))


def read_lines(path: Path, span: Span = WHOLE) -> Iterator[Lines]:
    """Yield the non-blank lines of a span of a plain or gzipped text file.

    Raises DataError, naming the file and the last good line, if the file is empty, truncated, corrupt or no UTF-8 text.
    """
    if path.stat().st_size == 0:
        raise EmptyFileError(f"{path}: the file is empty (0 bytes). Copy or download it again.")
    with path.open("rb") as raw:
        done, rest = span.lines, _line_before(raw, span.first * BLOCK)
        stream = _unpacked(raw) if span.first == 0 else raw
        for number in itertools.count(span.first):
            block = _read(stream, path, done) if number != span.stop else b""
            if not block:
                break
            if not done and not rest:
                require_text(path, block)
            head, newline, tail = block.rpartition(b"\n")
            if newline:
                lines = _split(rest + head, done)
                rest = tail
                done = lines[1]
                yield lines[0]
            else:
                rest += tail
                if len(rest) > LONGEST_LINE:
                    raise DataError(
                        f"{path}: line {done + 1} is longer than {LONGEST_LINE} bytes. Give a text "
                        "file with one record per line."
                    )
    if span.stop is not None:
        return
    if rest.strip():
        yield _split(rest, done)[0]
    elif not done:
        raise EmptyFileError(f"{path}: the file holds no lines. Copy or download it again.")


def _line_before(raw: BufferedReader, place: int) -> bytes:
    """The beginning of the line that stands at a place of the file, which is left there."""
    start = max(0, place - LONGEST_LINE)
    size = min(place, PIECE)
    while True:
        raw.seek(place - size)
        text = raw.read(size)
        if b"\n" in text or place - size <= start:
            return text.rpartition(b"\n")[2]
        size = min(2 * size, place - start)


def _split(text: bytes, done: int) -> tuple[Lines, int]:
    if done == 0:
        text = text.removeprefix(b"\xef\xbb\xbf")  # byte order mark of files saved on Windows
    parts = text.split(b"\n")
    last = done + len(parts)
    numbers = np.arange(done + 1, last + 1, dtype=np.int64)
    if b"\r" in text:
        parts = [part.rstrip(b"\r") for part in parts]
    if not all(parts):
        filled = [i for i, part in enumerate(parts) if part]
        parts, numbers = [parts[i] for i in filled], numbers[filled]
    return Lines(parts, numbers), last


def require_text(path: Path, block: bytes) -> None:
    """Raise DataError for a file that is no UTF-8 text. Its first bytes show what the file is."""
    what = next((what for mark, what in _MARKS if block.startswith(mark)), None)
    head = block[:1_000]
    if what is None and max(head[::2].count(0), head[1::2].count(0)) > len(head) / 4:
        what = "UTF-16"  # without a byte order mark: every other byte of Latin letters is zero
    if what is None:
        return
    todo = "Unpack it, or save it as plain UTF-8 text"
    if what.startswith("UTF"):
        todo = f"Save it as UTF-8: iconv -f {what} -t UTF-8 {path.name} > NEW, unpacked if it is a .gz"
    raise DataError(f"{path}: the file is {what}, and lines of UTF-8 text, plain or gzipped, are expected. {todo}.")


def _unpacked(raw: BufferedReader) -> BufferedIOBase:
    packed = raw.read(2) == _GZIP
    raw.seek(0)
    return gzip.GzipFile(fileobj=raw) if packed else raw


def _read(stream: BufferedIOBase, path: Path, done: int) -> bytes:
    """Read up to BLOCK bytes, piece by piece, so that an error can report the last good line."""
    pieces: list[bytes] = []
    size = 0
    try:
        while size < BLOCK and (piece := stream.read1(min(PIECE, BLOCK - size))):
            pieces.append(piece)
            size += len(piece)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        last = done + b"".join(pieces).count(b"\n")
        what = (
            f"is truncated: it ends in the middle of its data, after line {last}"
            if isinstance(error, EOFError)
            else f"is damaged after line {last} ({error})"
        )
        raise DataError(f"{path}: the gzip file {what}. Copy or download it again.") from error
    return b"".join(pieces)


def is_utf8(text: bytes) -> bool:
    """Whether the bytes are valid UTF-8."""
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def file_digest(path: Path) -> str:
    """SHA-256 of the file's bytes, in hex. An unchanged file is not read again."""
    state = path.stat()
    return _digest_of(path, state.st_ino, state.st_size, state.st_mtime_ns)


@functools.lru_cache(maxsize=1_024)
def _digest_of(path: Path, inode: int, size: int, changed_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
