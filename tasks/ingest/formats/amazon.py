"""Amazon reviews and item metadata (2014 and 2018 release). A review is a purchase, and categories give searches."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pyarrow as pa

from gensr_model.config.data import RemoteFile
from gensr_model.config.known_formats import FORMATS
from gensr_model.config.layouts import LAYOUTS
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.data.synthetic import write_amazon
from gensr_model.errors import DataError
from tasks.core import sql_runner
from tasks.core.dataset_format import Blocks, Count, DatasetFormat, Files, Preparing, RawTable, Reading
from tasks.core.sql_runner import run
from tasks.ingest.described import described_items
from tasks.ingest.file_cache import in_order, name_of, require_all_read
from tasks.ingest.formats.amazon_meta import ITEMS, meta_blocks
from tasks.ingest.raw_files import WHOLE, Lines, Span, is_utf8, read_lines
from tasks.ingest.rejects import REJECTED

if TYPE_CHECKING:
    from great_expectations import ExpectationSuite

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


_SETTING = "logs.layout to amazon-2023" if "amazon-2023" in LAYOUTS else "name its files and columns in logs"
RELEASE_2023 = (
    "This looks like Amazon's 2023 release (user_id, parent_asin, rating, timestamp in ms). Format amazon reads those "
    f"of 2014 and 2018: set format to logs, and {_SETTING}."
)


def find(folder: Path) -> Files:
    """The files of ``folder`` by raw table. Raises DataError that names what is missing, ambiguous or left out.

    Names as published: ``reviews_<Category>_5.json.gz`` (2014), ``<Category>_5.json.gz`` or ``<Category>.json.gz``
    (2018), and ``meta_<Category>.json.gz``; unpacked files without ``.gz`` too. Each may come in parts, with a label
    before ``.json``: ``reviews_X_5.2014-07-24.json.gz``.
    """
    names = {path: name_of(path) for path in sorted(folder.iterdir()) if path.is_file()}
    stems = {path: name.stem for path, name in names.items() if name and name.kind != "csv"}
    meta = [path for path, stem in stems.items() if stem.startswith("meta_")]
    whole = {stems[path].removeprefix("meta_") for path in meta}
    reviews = [p for p, stem in stems.items() if p not in meta and (stem.startswith("reviews_") or stem.endswith("_5"))]
    reviews = reviews or [p for p, stem in stems.items() if stem in whole]
    for paths, what, example in (
        (reviews, "reviews file", "reviews_Kindle_Store_5.json.gz"),
        (meta, "meta file", "meta_Kindle_Store.json.gz"),
    ):
        if len({stems[path] for path in paths}) == 1:
            continue
        if paths:
            raise DataError(
                f"{folder}: {len(paths)} files look like the Amazon {what} ({', '.join(p.name for p in paths)}); "
                "keep the one to be read in a folder of its own. Parts of one file have one name and a label: "
                f"{example.replace('.json', '.2014-07-24.json')}."
            )
        present = ", ".join(path.name for path in sorted(folder.iterdir())[:12]) or "nothing"
        newer = f" {RELEASE_2023}" if any(path.suffixes[:1] == [".jsonl"] for path in meta) else ""
        newer = newer if stems else " For tables of events and items of your own set format to logs."
        raise DataError(
            f"{folder}: no Amazon {what} (named like {example}, .gz or unpacked). The folder holds: {present}.{newer}"
        )
    begins = ("reviews_", "meta_", *(stems[path] for path in (*reviews, *meta)))
    expected = "reviews_X_5.json or reviews_X_5.2014-07-24.json, .gz or not"
    require_all_read(folder, begins, (*reviews, *meta), expected)
    labels = {path: name.label for path, name in names.items() if name}
    return {table: in_order((p, labels[p]) for p in paths) for table, paths in (("reviews", reviews), ("items", meta))}


def review_blocks(con: duckdb.DuckDBPyConnection, path: Path, bounds: dict[str, int], span: Span = WHOLE) -> Blocks:
    """Accepted rows and rejected lines of a span of a reviews file."""
    sql_runner.run(con, "raw/no_value")
    for block in read_lines(path, span):
        text, bad = as_text(block)
        con.register("batch", text)
        rows = sql_runner.to_arrow(con, "amazon/reviews", dict(bounds))
        con.unregister("batch")
        good = pa.compute.is_null(rows["reason"])
        rejected = rows.filter(pa.compute.invert(good)).select(REJECTED.names)
        yield rows.filter(good), pa.concat_tables([bad, rejected.cast(REJECTED)])


def as_text(block: Lines) -> tuple[pa.Table, pa.Table]:
    """(table of line_no and text, rejected rows). Lines that are not UTF-8 are rejected."""
    raw = pa.array(block.lines, pa.binary())
    try:
        return pa.table({"line_no": block.numbers, "text": raw.cast(pa.string())}), REJECTED.empty_table()
    except pa.ArrowInvalid:
        valid = np.array([is_utf8(line) for line in block.lines])
    bad = [line.decode("utf-8", "replace") for line, ok in zip(block.lines, valid, strict=True) if not ok]
    rejected = {"line": block.numbers[~valid], "reason": ["not UTF-8"] * len(bad), "excerpt": bad}
    text = pa.table({"line_no": block.numbers[valid], "text": raw.filter(pa.array(valid)).cast(pa.string())})
    return text, pa.table(rejected, schema=REJECTED)


def items_without_meta(con: duckdb.DuckDBPyConnection, folder: Path, files: Files) -> dict[str, int]:
    """Number of reviewed items without metadata. Raises DataError if the metadata describe no item."""
    return described_items(con, folder, ("reviews",), files["items"])


def suites(earliest_ms: int, latest_ms: int) -> dict[str, ExpectationSuite]:
    """Expectations that prepare relies on, by raw table."""
    from expectations import raw_items, raw_reviews

    return {"reviews": raw_reviews.suite(earliest_ms, latest_ms), "items": raw_items.suite()}


# --- searches: one query of the item drawn for each purchase (Ai et al. 2017) -------------------------------------


def register_stems(con: duckdb.DuckDBPyConnection, config: PipelineConfig, counts: Mapping[str, Any]) -> None:
    """Make the table ``stems``: (word, stem) of each distinct word, empty unless ``prepare.stem_queries`` is set."""
    del counts
    words = [word for (word,) in run(con, "amazon/distinct_words").fetchall()]
    con.register("stems", stems_of(words if config.prepare.stem_queries else []))


def stems_of(words: list[str]) -> pa.Table:
    """(word, stem) of each word, by the English Snowball stemmer."""
    if not words:
        return pa.table({"word": pa.array([], pa.string()), "stem": pa.array([], pa.string())})
    import snowballstemmer

    return pa.table({"word": words, "stem": snowballstemmer.stemmer("english").stemWords(words)})


def add_search_events(con: duckdb.DuckDBPyConnection, config: PipelineConfig, counts: Mapping[str, Any]) -> None:
    """Add the search events to ``interactions``, drawn by the config's seed."""
    del counts
    run(con, "amazon/search_events", {"seed": config.seed})


def require_queries(con: duckdb.DuckDBPyConnection, config: PipelineConfig, counts: Mapping[str, Any]) -> None:
    """Raise DataError where no category path gave a query."""
    del config
    made = counts["category_queries"]
    if made["items_with_query"] == 0:
        paths, unwritten = run(con, "amazon/unwritten_paths").fetchall()[0]
        other = (
            f" {unwritten} of {paths} paths have letters of other scripts alone, and this procedure, which is the "
            "published one (Ai et al. 2017), keeps A to Z. Format logs keeps queries as they were typed."
        )
        raise DataError(
            f"no item has a query: of {made['items']} items, {made['items_with_path']} have a category path of "
            "two or more levels, and none of those has a word that is not a stop word."
            f"{other if unwritten else ''} Queries are made of category paths: check the field `categories` of the "
            "metadata file"
        )


# --- the entry ----------------------------------------------------------------------------------------------------

READING = Reading(
    tables=(
        RawTable("reviews", REVIEWS, review_blocks, spans=True),
        RawTable(
            "items", ITEMS, lambda con, path, bounds, span=None: meta_blocks(path, span), distinct=True, spans=True
        ),
    ),
    find=find,
    marks=("reviews_*", "meta_*.json", "meta_*.json.gz"),  # format logs reads the .jsonl release
    hints={"a line of the 2023 release": RELEASE_2023},
    notes=items_without_meta,
)
PREPARING = Preparing(
    tables=("reviews", "items"),
    interactions=("amazon/interactions", Count("read", "amazon/read_counts")),
    by_user=("reviews",),
    searches=(
        "amazon/stop_words",
        "amazon/item_paths",
        "amazon/path_words",
        register_stems,
        "amazon/path_queries",
        "amazon/item_queries",
        add_search_events,
        Count("category_queries", "amazon/search_counts"),
        require_queries,
    ),
    item_text=("amazon/item_text",),
    event_split=("amazon/event_split",),
    files=(("item_queries", "amazon/files/item_queries"),),
    figures=("audit/figures/position_cut",),
)
_SNAP = "http://snap.stanford.edu/data/amazon/productGraph/categoryFiles"
# The publisher gives no digest to check. Sizes are checked against the server's.
FORMAT = DatasetFormat(
    facts=FORMATS["amazon"],
    reading=READING,
    preparing=PREPARING,
    suites=suites,
    published=(
        RemoteFile(url=f"{_SNAP}/reviews_Kindle_Store_5.json.gz"),
        RemoteFile(url=f"{_SNAP}/meta_Kindle_Store.json.gz"),
    ),
    generate=write_amazon,
)
