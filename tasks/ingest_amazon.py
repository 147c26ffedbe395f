"""Amazon reviews (2014 and 2018 release) and item meta -> raw tables. No Prefect, no SQL text."""

from __future__ import annotations

import ast
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
from tasks import duck
from tasks.rawfiles import Lines, is_utf8, read_lines
from tasks.rejects import REJECTED, Account, Output

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
    reviews: Path
    meta: Path


def amazon_files(folder: Path) -> AmazonFiles:
    """The one reviews file and the one meta file of ``folder``; DataError says what is missing or ambiguous.

    Names as published: ``reviews_<Category>_5.json.gz`` (2014) or ``<Category>_5.json.gz`` (2018), and
    ``meta_<Category>.json.gz``; unpacked files without ``.gz`` too.
    """
    files = sorted(p for p in folder.iterdir() if p.is_file() and re.search(r"\.jsonl?(\.gz)?$", p.name))
    meta = [p for p in files if p.name.startswith("meta_")]
    reviews = [p for p in files if p not in meta and re.match(r"reviews_|.*_5\.jsonl?", p.name)]
    for found, what, example in (
        (reviews, "reviews file", "reviews_Kindle_Store_5.json.gz"),
        (meta, "meta file", "meta_Kindle_Store.json.gz"),
    ):
        if len(found) == 1:
            continue
        present = ", ".join(p.name for p in sorted(folder.iterdir())[:12]) or "nothing"
        if found:
            raise DataError(
                f"{folder}: {len(found)} files look like the Amazon {what} ({', '.join(p.name for p in found)}); "
                "keep the one to be read in a folder of its own."
            )
        kuaisar = any(folder.rglob("rec_inter.csv"))
        hint = " It looks like KuaiSAR: set format to kuaisar." if kuaisar else ""
        raise DataError(
            f"{folder}: no Amazon {what} (named like {example}, .gz or unpacked). The folder holds: {present}.{hint}"
        )
    return AmazonFiles(reviews[0], meta[0])


def read_amazon(
    con: duckdb.DuckDBPyConnection, folder: Path, account: Account, bounds: dict[str, int], out: Path
) -> dict[str, int]:
    """Write reviews.parquet and items.parquet; returns the counts of ``read_meta``.

    Raises DataError for missing files and as ``Account.check`` does.
    """
    files = amazon_files(folder)
    reviewed = read_reviews(con, files.reviews, account, bounds, out)
    return read_meta(files.meta, account, reviewed, out)


def read_reviews(
    con: duckdb.DuckDBPyConnection, path: Path, account: Account, bounds: dict[str, int], out: Path
) -> set[str]:
    """Write reviews.parquet; returns the items that were reviewed. Raises DataError as ``Account.check`` does."""
    account.open(path)
    output = Output(out / "reviews.parquet", REVIEWS)
    items: set[str] = set()
    for block in read_lines(path):
        text, bad = as_text(block)
        con.register("batch", text)
        rows = duck.to_arrow(con, "amazon/reviews", dict(bounds))
        con.unregister("batch")
        good = pa.compute.is_null(rows["reason"])
        accepted = rows.filter(good).select(["user", "item", "ts", "rating", "line"])
        rejected = rows.filter(pa.compute.invert(good)).select(REJECTED.names)
        account.add(path, len(accepted), pa.concat_tables([bad, rejected.cast(REJECTED)]))
        names = pa.array([path.name] * len(accepted), pa.string())
        output.write(accepted.append_column("file", names).select(REVIEWS.names))
        items.update(accepted["item"].unique().to_pylist())
    output.close()
    account.check(path)
    return items


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


def read_meta(path: Path, account: Account, reviewed: set[str], out: Path) -> dict[str, int]:
    """Write items.parquet, one row per item, the first line of an item wins.

    Returns the counts ``repeated_items`` (further lines of an item) and ``items_without_meta`` (reviewed items that
    no line describes). Raises DataError if the file describes none of the reviewed items.
    """
    account.open(path)
    output = Output(out / "items.parquet", ITEMS)
    seen: set[str] = set()
    repeated = 0
    for block in read_lines(path):
        rows: list[dict[str, Any]] = []
        rejects: list[dict[str, Any]] = []
        for number, row in _parse(block):
            if isinstance(row, str):
                excerpt = block.lines[int(np.searchsorted(block.numbers, number))][:800]
                rejects.append({"line": number, "reason": row, "excerpt": excerpt.decode("utf-8", "replace")})
            elif row["item"] in seen:
                repeated += 1
            else:
                seen.add(row["item"])
                rows.append(row)
        account.add(path, len(block.lines) - len(rejects), pa.Table.from_pylist(rejects, REJECTED))
        output.write(pa.Table.from_pylist(rows, ITEMS))
    output.close()
    account.check(path)
    missing = len(reviewed - seen)
    if missing == len(reviewed):
        raise DataError(
            f"{path}: describes none of the {len(reviewed):,} items that the reviews name (first asin there: "
            f"{min(reviewed)}, here: {min(seen)}). Is it the meta file of another category?"
        )
    return {"repeated_items": repeated, "items_without_meta": missing}


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
