"""Amazon's item metadata as rows, from JSON (2018 release) or Python literals (2014). No Prefect, no SQL text."""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tasks.core.dataset_format import Blocks
from tasks.core.process_pool import ordered_map
from tasks.ingest import python_literals
from tasks.ingest.clean_text import clean_text, encodable, is_missing
from tasks.ingest.raw_files import Lines, Span, read_lines
from tasks.ingest.rejects import REJECTED

ITEMS = pa.schema(
    [
        ("item", pa.string()),
        ("title", pa.string()),
        ("brand", pa.string()),
        ("description", pa.string()),
        ("categories", pa.list_(pa.list_(pa.string()))),
    ]
)
# What ``ast.literal_eval`` is documented to raise; a number of thousands of digits is a ValueError when written out.
UNREADABLE = (ValueError, TypeError, SyntaxError, MemoryError, RecursionError)
_WHOLE = re.compile(r"(\d+)\.0")
_MISSING_IDS = frozenset({"", "nan", "nat", "none", "null", "\\n", "<na>"})  # in lower case, as sql/raw/no_value.sql


def meta_blocks(path: Path, span: Span | None = None) -> Blocks:
    """Rows of ``ITEMS``, repeated items included, and rejected lines of a meta file.

    Several processes parse the blocks of a file, and this one those of a span.
    """
    return ordered_map(_meta_block, read_lines(path)) if span is None else map(_meta_block, read_lines(path, span))


def _meta_block(block: Lines) -> tuple[pa.Table, pa.Table]:
    rows: list[dict[str, Any]] = []
    rejects: list[dict[str, Any]] = []
    for number, row in _rows(block):
        if isinstance(row, str):
            excerpt = block.lines[int(np.searchsorted(block.numbers, number))][:800]
            rejects.append({"line": number, "reason": row, "excerpt": excerpt.decode("utf-8", "replace")})
        else:
            rows.append(row)
    return pa.Table.from_pylist(rows, ITEMS), pa.Table.from_pylist(rejects, REJECTED)


def _rows(block: Lines) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Rows as from ``_parse``, which gets only the lines that the fast reader is not sure of."""
    for at, (line, number) in enumerate(zip(block.lines, block.numbers.tolist(), strict=True)):
        entry = python_literals.parse(line)
        if entry is python_literals.UNSURE:
            yield from _parse(Lines([line], block.numbers[at : at + 1]))
        else:
            yield number, item_row(entry)


def _parse(block: Lines) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """(line number, row of ITEMS or the reason for a reject) of each line."""
    for line, number in zip(block.lines, block.numbers.tolist(), strict=True):
        try:
            row = item_row(parse_entry(line.decode()))
        except UnicodeDecodeError:
            row = "not UTF-8"
        except UNREADABLE:
            row = "neither JSON nor a Python literal"
        yield number, row


def parse_entry(line: str) -> Any:
    """The value of a meta line: JSON (2018) or a Python literal (2014). It never evaluates code.

    Raises one of ``UNREADABLE`` for anything else.
    """
    try:
        return json.loads(line)
    except ValueError:
        with warnings.catch_warnings():  # no warnings about unknown escapes in titles
            warnings.simplefilter("ignore")
            return ast.literal_eval(line.strip())


def item_row(entry: Any) -> dict[str, Any] | str:
    """A row of ``ITEMS`` from a parsed meta line, or the reason for a reject.

    Raises ValueError or RecursionError for a value that Python refuses to write out.
    """
    if not isinstance(entry, dict):
        return "not a record of named fields"
    asin = _id(entry.get("asin"))
    if asin is None:
        newer = "asin" not in entry and "parent_asin" in entry
        return "a line of the 2023 release: parent_asin where asin is expected" if newer else "no asin"
    if encodable(asin) != asin:
        return "asin is not valid text"
    spellings = [_paths(entry.get(name)) for name in ("categories", "category")]  # some lines have both
    if not any(spellings) and None in spellings:
        return "categories is not a list of paths"
    return {
        "item": asin,
        "title": clean_text(entry.get("title")),
        "brand": clean_text(entry.get("brand")),
        "description": clean_text(entry.get("description")),
        "categories": spellings[0] or spellings[1] or [],
    }


def _id(value: Any) -> str | None:
    """An id as text; a number such as ``3.0`` is 3. None for texts that mean a missing value."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
    text = value.strip() if isinstance(value, str) else ""
    if text.lower() in _MISSING_IDS:
        return None
    whole = _WHOLE.fullmatch(text)
    return whole[1] if whole else text


def _paths(value: Any) -> list[list[str]] | None:
    """Cleaned category paths without empty ones. A flat path is one path. None for anything but a list of paths."""
    if not value or is_missing(value):
        return []
    if not isinstance(value, list):
        return None
    there = [part for part in value if not is_missing(part)]
    if there and isinstance(there[0], (str, int, float)):
        there = [there]  # the 2018 release has one flat path
    if not all(isinstance(path, list) for path in there):
        return None
    return [path for path in ([name for name in map(clean_text, path) if name] for path in there) if path]
