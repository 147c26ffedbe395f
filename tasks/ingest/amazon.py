"""Amazon reviews (2014 and 2018 release) and item meta -> raw tables. No Prefect, no SQL text."""

from __future__ import annotations

import ast
import functools
import html
import json
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import numpy as np
import pyarrow as pa

from gensr_model.errors import DataError
from tasks.core import sql_runner
from tasks.core.process_pool import ordered_map
from tasks.ingest import python_literals
from tasks.ingest.file_cache import Blocks, Parts, in_order, keep_first, name_of, put_together
from tasks.ingest.raw_files import Lines, is_utf8, read_lines
from tasks.ingest.rejects import REJECTED, Account

REVIEWS = pa.schema(
    [
        ("user", pa.string()),
        ("item", pa.string()),
        ("ts", pa.int64()),
        ("rating", pa.float64()),
        ("file", pa.string()),
        ("line", pa.int64()),
    ]
)
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
# Only what looks like a tag, so that "size < 10 and > 5" stays what it is.
_TAG = re.compile(r"<(?:/?[A-Za-z][^<>]*|!--.*?--)>", re.DOTALL)


class AmazonFiles(NamedTuple):
    """Each in the order of its parts: ``reviews_X_5.json.gz``, ``reviews_X_5.2014-07-24.json.gz``, ..."""

    reviews: tuple[Path, ...]
    meta: tuple[Path, ...]


def amazon_files(folder: Path) -> AmazonFiles:
    """The reviews and the meta of ``folder``; DataError says what is missing or ambiguous.

    Names as published: ``reviews_<Category>_5.json.gz`` (2014) or ``<Category>_5.json.gz`` (2018), and
    ``meta_<Category>.json.gz``; unpacked files without ``.gz`` too. Each may come in parts, labelled before ``.json``.
    """
    found_names = [(name_of(p), p) for p in sorted(folder.iterdir()) if p.is_file()]
    named = [(name.stem, p) for name, p in found_names if name and name.kind != "csv"]
    meta = [p for stem, p in named if stem.startswith("meta_")]
    reviews = [
        p for stem, p in named if p not in meta and (stem.startswith("reviews_") or stem.endswith("_5"))
    ]
    for found, what, example in (
        (reviews, "reviews file", "reviews_Kindle_Store_5.json.gz"),
        (meta, "meta file", "meta_Kindle_Store.json.gz"),
    ):
        if len({stem for stem, p in named if p in found}) == 1:
            continue
        present = ", ".join(p.name for p in sorted(folder.iterdir())[:12]) or "nothing"
        if found:
            raise DataError(
                f"{folder}: {len(found)} files look like the Amazon {what} ({', '.join(p.name for p in found)}); "
                "keep the one to be read in a folder of its own. Parts of one file have one name and a label: "
                f"{example.replace('.json', '.2014-07-24.json')}."
            )
        kuaisar = any(folder.rglob("rec_inter.csv"))
        hint = " It looks like KuaiSAR: set format to kuaisar." if kuaisar else ""
        raise DataError(
            f"{folder}: no Amazon {what} (named like {example}, .gz or unpacked). The folder holds: {present}.{hint}"
        )
    return AmazonFiles(in_order(reviews), in_order(meta))


def read_amazon(
    con: duckdb.DuckDBPyConnection,
    folder: Path,
    account: Account,
    bounds: dict[str, int],
    out: Path,
    parts: Parts,
) -> dict[str, int]:
    """Write reviews.parquet, and items.parquet with one row per item, the first line of an item.

    Returns the counts ``repeated_items`` (further lines of an item) and ``items_without_meta`` (reviewed items that
    no line describes). Raises DataError for missing files, if the meta describes none of the reviewed items, and as
    ``Account.check`` does.
    """
    files = amazon_files(folder)
    reviews = []
    for path in files.reviews:
        blocks = functools.partial(review_blocks, con, path, bounds)
        reviews.append(parts.read(path, "reviews", REVIEWS, blocks, account))
        account.check(path)
    put_together(reviews, out / "reviews.parquet", REVIEWS)
    items = []
    for path in files.meta:
        items.append(parts.read(path, "items", ITEMS, functools.partial(meta_blocks, path), account))
        account.check(path)
    put_together(items, out / "items.parquet", ITEMS)
    repeated = keep_first(con, "items", out)
    return {"repeated_items": repeated, "items_without_meta": _without_meta(con, out, files.meta)}


def review_blocks(con: duckdb.DuckDBPyConnection, path: Path, bounds: dict[str, int]) -> Blocks:
    """Accepted rows and rejected lines of a reviews file."""
    for block in read_lines(path):
        text, bad = as_text(block)
        con.register("batch", text)
        rows = sql_runner.to_arrow(con, "amazon/reviews", dict(bounds))
        con.unregister("batch")
        good = pa.compute.is_null(rows["reason"])
        rejected = rows.filter(pa.compute.invert(good)).select(REJECTED.names)
        yield rows.filter(good), pa.concat_tables([bad, rejected.cast(REJECTED)])


def meta_blocks(path: Path) -> Blocks:
    """Rows of ``ITEMS``, repeated items among them, and rejected lines of a meta file; blocks in several processes."""
    return ordered_map(_meta_block, read_lines(path))


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


def _without_meta(con: duckdb.DuckDBPyConnection, out: Path, meta: tuple[Path, ...]) -> int:
    params = {table: str(out / f"{table}.parquet") for table in ("reviews", "items")}
    (row,) = con.sql(sql_runner.query("amazon/described"), params=params).fetchall()
    reviewed, missing, first_reviewed, first_described = row
    if missing == reviewed:
        raise DataError(
            f"{', '.join(map(str, meta))}: describes none of the {reviewed:,} items that the reviews name (first asin "
            f"there: {first_reviewed}, here: {first_described}). Is it the meta file of another category?"
        )
    return int(missing)


def as_text(block: Lines) -> tuple[pa.Table, pa.Table]:
    """(table of line_no and text, rejected rows): lines that are not UTF-8 are rejected."""
    raw = pa.array(block.lines, pa.binary())
    try:
        return pa.table({"line_no": block.numbers, "text": raw.cast(pa.string())}), REJECTED.empty_table()
    except pa.ArrowInvalid:
        valid = np.array([is_utf8(line) for line in block.lines])
    kept = pa.array(valid)
    bad = [line.decode("utf-8", "replace") for line, ok in zip(block.lines, valid, strict=True) if not ok]
    rejected = {"line": block.numbers[~valid], "reason": ["not UTF-8"] * len(bad), "excerpt": bad}
    text = pa.table({"line_no": block.numbers[valid], "text": raw.filter(kept).cast(pa.string())})
    return text, pa.table(rejected, schema=REJECTED)


def _rows(block: Lines) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """As ``_parse``, for which only those lines are left that the fast reader is not sure of."""
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
    """The value of a meta line: JSON (2018) or a Python literal (2014). Never evaluates code.

    Raises one of ``UNREADABLE`` for anything else.
    """
    try:
        return json.loads(line)
    except ValueError:
        with warnings.catch_warnings():  # an unknown escape in a title is no matter for the log
            warnings.simplefilter("ignore")
            return ast.literal_eval(line.strip())


def item_row(entry: Any) -> dict[str, Any] | str:
    """A row of ``ITEMS`` from a parsed meta line, or the reason why it is none.

    Raises ValueError or RecursionError for a value that Python itself refuses to write out.
    """
    if not isinstance(entry, dict):
        return "not a record of named fields"
    asin = entry.get("asin")
    if not isinstance(asin, str) or not asin.strip():
        return "no asin"
    if _encodable(asin) != asin:
        return "asin is not valid text"
    paths = entry.get("categories", entry.get("category")) or []
    if isinstance(paths, list) and paths and isinstance(paths[0], str):
        paths = [paths]  # the 2018 release has one flat path
    if not isinstance(paths, list) or not all(isinstance(path, list) for path in paths):
        return "categories is not a list of paths"
    levels = [[name for name in map(clean_text, path) if name] for path in paths]
    return {
        "item": asin.strip(),
        "title": clean_text(entry.get("title")),
        "brand": clean_text(entry.get("brand")),
        "description": clean_text(entry.get("description")),
        "categories": [path for path in levels if path],
    }


def clean_text(value: Any) -> str | None:
    """Entities unescaped (also those escaped twice), tags stripped, white space folded; None for an empty text."""
    if isinstance(value, list):
        value = " ".join(str(part) for part in value)
    if value is None:
        return None
    text = str(value)
    if "&" in text:
        text = html.unescape(html.unescape(text))
    if "<" in text:
        text = _TAG.sub(" ", text)
    if not text.isascii():
        text = _encodable(text)
    return " ".join(text.split()) or None


def _encodable(text: str) -> str:
    """Half of a surrogate pair, which an escape can smuggle in, is no character and cannot be written: "?" instead."""
    return text.encode("utf-8", "replace").decode()
