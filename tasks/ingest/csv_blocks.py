"""Reads CSV files of one line per record, block by block: every line becomes a row or a reject."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pacsv

from gensr_model.errors import DataError
from tasks.ingest.raw_files import LONGEST_LINE, WHOLE, Lines, Span, is_utf8, read_lines
from tasks.ingest.rejects import AS_UTF8, REJECTED, wrong_width

_END = "\0"  # a field that we append to a line; after an open quote it is no field of its own


def read_csv(
    path: Path,
    required: tuple[str, ...],
    optional: tuple[str, ...] = (),
    aliases: Mapping[str, str] | None = None,
    span: Span = WHOLE,
) -> Iterator[tuple[pa.Table, pa.Table]]:
    """Yield (rows, rejects) per block of a span. Columns are matched by name; ``aliases`` maps other spellings to ours.

    Rows hold the required and the optional columns as strings (an absent optional column is null) and ``line_no``, the
    line in the file. Raises DataError for a missing column, and as ``read_lines`` does.
    """
    known = (*required, *optional)
    first = next((block for block in read_lines(path) if block.lines), None) if span.first else None
    header = _header(path, first, known, required, aliases or {}) if first else []
    for block in read_lines(path, span):
        if not header:
            if not block.lines:  # blank lines so far
                continue
            first, header = block, _header(path, block, known, required, aliases or {})
        if first and block.lines and block.numbers[0] == first.numbers[0]:
            block = Lines(block.lines[1:], block.numbers[1:])
        wanted = [name for name in known if name in header]
        rows, rejects = _parse(block, header, wanted)
        for name in optional:
            if name not in wanted:
                rows = rows.append_column(name, pa.nulls(len(rows), pa.string()))
        yield rows, rejects


def _header(
    path: Path, block: Lines, known: tuple[str, ...], required: tuple[str, ...], aliases: Mapping[str, str]
) -> list[str]:
    place = f"{path}: the header (line {block.numbers[0]})"
    if not is_utf8(block.lines[0]):
        raise DataError(f"{place} is not UTF-8. {AS_UTF8}")
    try:
        names = next(csv.reader([block.lines[0].decode("utf-8", "replace")]))
    except csv.Error as error:
        raise DataError(
            f"{place} cannot be read as CSV ({error}). Expected: column names, separated by commas, on a line that "
            "ends in LF or CRLF."
        ) from error
    names = [aliases.get(name.strip(), name.strip()) for name in names]
    missing = [name for name in required if name not in names]
    if missing:
        raise DataError(f"{place} has no column {', '.join(missing)}. It has: {', '.join(names)[:500]}.")
    repeated = {name for name in names if names.count(name) > 1 and name in known}
    if repeated:
        raise DataError(f"{place} names column {', '.join(sorted(repeated))} twice. Remove all but one.")
    return names


def _parse(block: Lines, header: list[str], wanted: list[str]) -> tuple[pa.Table, pa.Table]:
    """Parse a clean block at once, and any other block line by line."""
    if not block.lines:
        empty = pa.schema([(name, pa.string()) for name in wanted]).empty_table()
        return empty.append_column("line_no", pa.array([], pa.int64())), REJECTED.empty_table()
    text = b"\n".join(block.lines)
    # Arrow would end a row at a lone CR, and checks UTF-8 only in the wanted columns.
    if b"\r" in text or not is_utf8(text):
        return _parse_lines(block, header, wanted)
    try:
        table = pacsv.read_csv(
            pa.BufferReader(text),
            # One block: an unclosed quote then loses rows, which the count below detects.
            pacsv.ReadOptions(use_threads=False, block_size=len(text) + 1, column_names=header),
            convert_options=pacsv.ConvertOptions(
                include_columns=wanted, column_types={name: pa.string() for name in wanted}, strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid:  # a row of another width
        return _parse_lines(block, header, wanted)
    if len(table) != len(block.lines):
        return _parse_lines(block, header, wanted)
    return table.append_column("line_no", pa.array(block.numbers)), REJECTED.empty_table()


def _parse_lines(block: Lines, header: list[str], wanted: list[str]) -> tuple[pa.Table, pa.Table]:
    places = [header.index(name) for name in wanted]
    rows: list[list[str]] = []
    numbers: list[int] = []
    rejects: list[dict[str, object]] = []
    limit = csv.field_size_limit(LONGEST_LINE)
    try:
        for line, number in zip(block.lines, block.numbers.tolist(), strict=True):
            fields, reason = _fields(line, len(header))
            if reason:
                excerpt = line[:800].decode("utf-8", "replace")
                rejects.append({"line": number, "reason": reason, "excerpt": excerpt})
            else:
                rows.append([fields[place] for place in places])
                numbers.append(number)
    finally:
        csv.field_size_limit(limit)
    columns = zip(*rows, strict=True) if rows else [[] for _ in wanted]
    table = pa.table({name: pa.array(list(c), pa.string()) for name, c in zip(wanted, columns, strict=True)})
    table = table.append_column("line_no", pa.array(numbers, pa.int64()))
    return table, pa.Table.from_pylist(rejects, REJECTED)


def _fields(line: bytes, width: int) -> tuple[list[str], str]:
    """The fields of a line as Arrow would read them (``"a"b`` is ab, a bare quote is itself), and why it is no row."""
    if not is_utf8(line):
        return [], "not UTF-8"
    try:
        *fields, end = next(csv.reader([line.decode() + "," + _END]))
    except csv.Error as error:
        return [], f"not a CSV line: {error}"
    if end != _END:
        return [], "not a CSV line: a quote is never closed"
    return fields, "" if len(fields) == width else wrong_width(len(fields), width)
