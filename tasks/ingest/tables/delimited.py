"""Reads CSV, TSV and similar files. Delimiter, quoting and header are detected, and damage costs one record.

Records may span lines. A chunk goes to Arrow whole. Where the rows are not the lines, the chunk goes to Arrow once more
with line ends allowed in quotes. Only a chunk that is not clean in either way is read record by record.
"""

from __future__ import annotations

import csv
import functools
import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from gensr_model.errors import DataError, EmptyFileError
from tasks.ingest.raw_files import LONGEST_LINE, is_utf8
from tasks.ingest.rejects import AS_UTF8, NOT_UTF8, REJECTED, wrong_width
from tasks.ingest.tables.text_chunks import CHUNK, Chunk, chunks

DELIMITERS = (",", "\t", ";", "|")
_END = "\0"  # a field that we append to a record; after an open quote it is no field of its own
_TYPED = re.compile(r":(token|float)(_seq)?$")  # how RecBole's headers end
_LINES = 1_000  # a quote that stays open for more lines counts as unclosed
_SAMPLE = 2**20
COMMENT = "a comment line"  # why a line with a # ahead is no record of the table
_SEP = re.compile(rb'"?sep= ?([^ "])"?\r?', re.IGNORECASE)  # the first line of a file that Excel wrote
_BACKSLASHED = re.compile(rb'(\\+)"')  # a quote within quotes as Spark writes it
_QUOTING: dict[bool, Literal[0, 3]] = {True: csv.QUOTE_MINIMAL, False: csv.QUOTE_NONE}


class Dialect(NamedTuple):
    """The notation of a text file."""

    delimiter: str
    quoted: bool
    header: tuple[str, ...]
    named: bool  # whether the first line is the header
    skipped: int = 0  # lines before the header, or before the first record
    escaped: bool = False  # whether a quote within quotes is \\" and not ""


def sniff(
    path: Path,
    sample: bytes,
    known: Sequence[str],
    delimiter: str | None,
    quoted: bool | Literal["backslash"] | None,
    header: Sequence[str],
) -> Dialect:
    """The dialect of a file, from its beginning.

    The delimiter is the one that makes most known names of the header, then most names. Quoting is off where the
    sample reads clean without quotes and not with them. What is given is not looked for. Types that all names of a
    header end in, as ``user_id:token``, are no part of the names. Before the header may stand comments, which begin
    with #, and Excel's line ``sep=;``, which names the delimiter.

    Raises DataError for a header that is no text, names a column twice or begins with #, and EmptyFileError where there
    is none.
    """
    every = sample.split(b"\n")
    ahead = itertools.takewhile(lambda line: not line.strip() or _is_before(line, bool(header)), every)
    skipped = len(list(ahead))
    lines = [line for line in every[skipped:] if line.strip()]
    if not lines:
        raise EmptyFileError(f"{path}: the file holds no lines. Copy or export it again.")
    if b"\r" in lines[0].rstrip(b"\r"):
        raise DataError(f"{path}: lines end in CR alone. Expected: LF or CRLF.")
    first = lines[0].rstrip(b"\r").decode("utf-8", "replace")
    before = [line for line in every[:skipped] if line.strip()]
    delimiter = delimiter or next((sep[1].decode("latin-1") for line in before if (sep := _SEP.fullmatch(line))), None)

    def names(by: str) -> list[str]:
        cells = [name.strip() for name in next(csv.reader([first], delimiter=by), [""])]
        return [_TYPED.sub("", name) for name in cells] if all(map(_TYPED.search, cells)) else cells

    def fit(by: str) -> tuple[int, int]:
        return len(set(names(by)) & set(known)), len(names(by))

    try:
        by = delimiter or max(DELIMITERS, key=fit)
        columns = list(header) or names(by)
    except csv.Error as error:
        raise DataError(f"{path}: the header line cannot be read as text with columns ({error}).") from error
    comments = [line for line in before if line[:1] == b"#"]
    _require_header(path, columns, comments, lines[: 0 if header else 10], set(known))
    way = Dialect(by, quoted is not False, tuple(columns), not header, skipped, quoted == "backslash")
    if quoted is None and b'"' in sample:
        text = b"".join(line + b"\n" for line in lines[: -1 if len(sample) >= _SAMPLE and len(lines) > 1 else None])
        ways = [way, way._replace(quoted=False)]
        if b'\\"' in text:  # which before a letter ends no field
            within = re.search(rb'\\"[^"\r\n' + re.escape(by.encode()) + b"]", text) and b'%s"' % by.encode() in text
            ways.insert(0 if within else 1, way._replace(escaped=True))
        clean = (each for each in ways if _clean(_doubled(text, each), each, columns[:1]) is not None)
        way = next(clean, way)
    return way


def _require_header(path: Path, columns: list[str], comments: list[bytes], lines: list[bytes], known: set[str]) -> None:
    """DataError where the header is a comment, or comes later than in the first line, or names a column twice."""
    if any(_knows(line.lstrip(b"#"), known) for line in comments):
        raise DataError(f"{path}: the header line begins with #, as comments do. Remove the # from it.")
    if any("\ufffd" in name for name in columns):
        raise DataError(f"{path}: the header line is {NOT_UTF8}: {', '.join(columns):.200}. {AS_UTF8}")
    if len(columns) == 1 and (later := next((line for line in lines[1:] if _knows(line, known)), None)):
        raise DataError(
            f"{path}: the first line is no header: {columns[0][:60]}. A later one looks like it: "
            f"{later[:60].decode('utf-8', 'replace').rstrip()}. Remove the lines before it."
        )
    if repeated := sorted({name for name in columns if name and columns.count(name) > 1}):
        raise DataError(f"{path}: the header names column {', '.join(repeated)} twice. Remove all but one.")


def _knows(line: bytes, known: set[str]) -> bool:
    """Whether a line holds several known names of columns."""
    text = line.decode("utf-8", "replace")
    return any(len(known & {name.strip(' "\r') for name in text.split(by)}) > 1 for by in DELIMITERS)


def _is_before(line: bytes, header_given: bool) -> bool:
    """Whether a line stands before the table. Without a header line a # may begin a row."""
    return (line[:1] == b"#" and not header_given) or _SEP.fullmatch(line) is not None


def _doubled(text: bytes, dialect: Dialect) -> bytes:
    r"""The text with doubled quotes within quotes, where the file writes them as \" instead."""
    if not dialect.escaped:
        return text
    return _BACKSLASHED.sub(lambda m: m[1][: len(m[1]) // 2] + (b'""' if len(m[1]) % 2 else b'"'), text)


def records(path: Path, dialect: Dialect, wanted: Sequence[str]) -> Iterator[tuple[pa.Table, pa.Table]]:
    """(rows, rejects) per chunk. Rows have the wanted columns as text and ``line_no``, where the record begins."""
    due = dialect.skipped + dialect.named
    for chunk in _whole_records(path, dialect):
        while due and chunk.text:
            chunk = Chunk(chunk.text.partition(b"\n")[2], chunk.first_line + 1, chunk.lines - 1, chunk.last)
            due -= 1
        rows, broken = _parse(chunk, dialect, list(wanted))
        yield _without_headers(rows, broken) if dialect.named else (rows, broken)


def _without_headers(rows: pa.Table, broken: pa.Table) -> tuple[pa.Table, pa.Table]:
    """The rows without repeated headers, which concatenated files have between rows. They become rejects."""
    names = [name for name in rows.column_names if name != "line_no"]
    same = pc.equal(rows[names[0]], names[0])
    if not pc.any(same).as_py():
        return rows, broken
    same = functools.reduce(pc.and_, (pc.equal(rows[name], name) for name in names))
    lines = rows["line_no"].filter(same)
    why = [pa.repeat(pa.scalar(text), len(lines)) for text in ("the header once more", ",".join(names))]
    return rows.filter(pc.invert(same)), pa.concat_tables([broken, pa.table([lines, *why], schema=REJECTED)])


def _whole_records(path: Path, dialect: Dialect) -> Iterator[Chunk]:
    """Chunks that end where no quote is open, by the count of quotes."""
    rest, start = b"", 1
    for chunk in chunks(path):
        text = rest + _doubled(chunk.text, dialect)
        start = start if rest else chunk.first_line
        cut = len(text)
        if not chunk.last and dialect.quoted and text.count(b'"') % 2:
            cut = _closed_end(text)
            if len(text) - cut > 2 * CHUNK:  # a stray quote, not a record that spans lines
                cut = len(text)
        if cut:
            count = text.count(b"\n", 0, cut)
            yield Chunk(text[:cut], start, count, chunk.last)
            start += count
        rest = text[cut:]


def _closed_end(text: bytes) -> int:
    """The end of the last line before which the quotes are even."""
    values = np.frombuffer(text, np.uint8)
    ends = np.flatnonzero(values == 10)
    before = np.searchsorted(np.flatnonzero(values == 34), ends)
    closed = ends[before % 2 == 0]
    return int(closed[-1]) + 1 if len(closed) else 0


def _parse(chunk: Chunk, dialect: Dialect, wanted: list[str]) -> tuple[pa.Table, pa.Table]:
    if not chunk.text.strip():
        empty = pa.schema([(name, pa.string()) for name in wanted]).empty_table()
        return empty.append_column("line_no", pa.array([], pa.int64())), REJECTED.empty_table()
    table = _clean(chunk.text, dialect, wanted)
    if table is None:
        return _one_by_one(chunk, dialect, wanted)
    number = table["line_no"].to_numpy() + chunk.first_line
    return _numbered(table.drop_columns("line_no"), number), REJECTED.empty_table()


def _clean(text: bytes, dialect: Dialect, wanted: list[str]) -> pa.Table | None:
    """The rows with ``line_no`` from 0. None where the text is not a table from its first line to its last."""
    lines = text.count(b"\n")
    table = _arrow(dialect, text, wanted)
    if table is not None and len(table) == lines:
        return _numbered(table, np.arange(lines, dtype=np.int64))
    if dialect.quoted and b'"' in text:
        table = _arrow(dialect, text, list(dialect.header), spanning=True)
        if table is not None:
            spans = _line_ends(table) + 1
            if int(spans.sum()) == lines:
                places = [dialect.header.index(name) for name in wanted]  # names that are empty may stand twice
                return _numbered(table.select(places), np.concatenate([[0], np.cumsum(spans)[:-1]]))
    return None


def _arrow(dialect: Dialect, text: bytes, wanted: Sequence[str], spanning: bool = False) -> pa.Table | None:
    """The text as a table of strings. None where Arrow refuses it, or for a lone CR or bad UTF-8."""
    if (b"\r" in text and text.count(b"\r") != text.count(b"\r\n")) or not is_utf8(text):
        return None
    try:
        return pacsv.read_csv(
            pa.BufferReader(text),
            # One block: an unclosed quote then loses rows, which the count of lines detects.
            pacsv.ReadOptions(use_threads=False, block_size=len(text) + 1, column_names=list(dialect.header)),
            pacsv.ParseOptions(
                delimiter=dialect.delimiter,
                quote_char='"' if dialect.quoted else False,
                newlines_in_values=spanning,
            ),
            pacsv.ConvertOptions(
                include_columns=list(wanted),
                column_types={name: pa.string() for name in wanted},
                strings_can_be_null=False,
            ),
        )
    except pa.ArrowInvalid:  # a row of another width
        return None


def _numbered(table: pa.Table, numbers: np.ndarray) -> pa.Table:
    return table.append_column("line_no", pa.array(numbers, pa.int64()))


def _line_ends(table: pa.Table) -> np.ndarray:
    """Number of line ends within each record."""
    within = [pc.count_substring(column, "\n") for column in table.itercolumns()]
    total: np.ndarray = functools.reduce(pc.add, within).to_numpy().astype(np.int64)
    return total


def _one_by_one(chunk: Chunk, dialect: Dialect, wanted: list[str]) -> tuple[pa.Table, pa.Table]:
    """Read record by record. A line at which no record begins is a reject, and reading continues with the next line."""
    lines = chunk.text.split(b"\n")[:-1]
    places = [dialect.header.index(name) for name in wanted]
    rows: list[list[str]] = []
    numbers: list[int] = []
    rejects: list[dict[str, object]] = []
    limit = csv.field_size_limit(LONGEST_LINE)
    try:
        at = 0
        while at < len(lines):
            if lines[at].strip():
                fields, reason, used = _record(lines, at, dialect)
                if reason:
                    reason = COMMENT if lines[at].startswith(b"#") else reason
                    excerpt = lines[at][:800].decode("utf-8", "replace")
                    rejects.append({"line": chunk.first_line + at, "reason": reason, "excerpt": excerpt})
                else:
                    rows.append([fields[place] for place in places])
                    numbers.append(chunk.first_line + at)
                at += used
            else:
                at += 1
    finally:
        csv.field_size_limit(limit)
    columns = zip(*rows, strict=True) if rows else [[] for _ in wanted]
    table = pa.table({name: pa.array(list(c), pa.string()) for name, c in zip(wanted, columns, strict=True)})
    return _numbered(table, np.array(numbers, np.int64)), pa.Table.from_pylist(rejects, REJECTED)


def _record(lines: list[bytes], at: int, dialect: Dialect) -> tuple[list[str], str, int]:
    """The fields of the record that begins at a line, or why it is none, and its number of lines."""
    fields, reason = _fields(lines[at], dialect)
    if reason != _OPEN:
        return fields, reason, 1
    text = lines[at]
    for further in range(at + 1, min(at + _LINES, len(lines))):
        text += b"\n" + lines[further]
        if b'"' in lines[further]:
            fields, spanning = _fields(text, dialect)
            if not spanning:
                return fields, "", further - at + 1
            if spanning != _OPEN:
                break
    return [], reason, 1


_OPEN = "not a line of the table: a quote is never closed"


def _fields(record: bytes, dialect: Dialect) -> tuple[list[str], str]:
    """The fields as Arrow would read them (``"a"b`` is ab, a bare quote is itself), and why they are no row."""
    if not is_utf8(record):
        return [], "not UTF-8"
    text = record.decode().rstrip("\r")
    quoting = _QUOTING[dialect.quoted]
    try:
        *lines, last = f"{text}{dialect.delimiter}{_END}".split("\n")
        given = [*(f"{line}\n" for line in lines), last]
        *fields, end = next(csv.reader(given, delimiter=dialect.delimiter, quoting=quoting))
    except csv.Error as error:
        return [], f"not a line of the table: {error}"
    if end != _END:
        return [], _OPEN
    width = len(dialect.header)
    if len(fields) == width:
        return fields, ""
    return fields, f"{wrong_width(len(fields), width)}, parted by {dialect.delimiter!r}"
