"""Queries from category paths on hostile catalogues, against the published procedure in a few lines of Python.

Ai et al. (2017), as DATA.md tells it: join the level names of a path; drop every character outside [a-zA-Z ]; lower
case; drop stop words; stem, if asked to; keep of each word the last occurrence, in order of position; a path of one
level is no query.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import duckdb
import pyarrow as pa
import pytest
import snowballstemmer
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tasks.core.sql_runner import run
from tasks.ingest.formats.amazon import stems_of

Paths = list[list[str]]
Item = tuple[str, Paths]  # title, category paths

STEM = snowballstemmer.stemmer("english").stemWord
ITEMS = pa.schema(
    [
        *((name, pa.string()) for name in ("item", "title", "brand", "description")),
        ("categories", pa.list_(pa.list_(pa.string()))),
    ]
)

INTERACTIONS = pa.schema(
    [
        *((name, pa.string()) for name in ("user", "item")),
        ("ts", pa.int64()),
        *((name, pa.string()) for name in ("behavior", "query")),
        ("source_row", pa.int64()),
    ]
)

# Words that collide: repeats, words that differ only in what is dropped, stop words, words with one stem.
COLLIDING = r"""Kindle kindle KINDLE Store eBooks the The of And Women's womens Hi-Fi HiFi rods rod Fishing fish 3D d
    & &amp; ' " -- $1 \ % _ é"""
words = st.sampled_from(COLLIDING.split())
tidy = st.lists(words, min_size=1, max_size=6).map(" ".join)
hostile = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
long = st.builds(lambda word, times: f"{word} " * times, words, st.integers(200, 1_000))
levels = st.one_of(tidy, tidy, hostile, long, st.sampled_from(["", " ", "\t", "\n", "\r\n", "\u2028", "\u00a0"]))
items = st.lists(
    st.tuples(st.one_of(tidy, hostile), st.lists(st.lists(levels, min_size=1, max_size=5), max_size=6)),
    min_size=1,
    max_size=8,
)


def query_of(path: list[str], stop_words: set[str], stem: Callable[[str], str]) -> str | None:
    """The published procedure; None where the path is no query."""
    letters = re.sub("[^a-zA-Z ]", "", " ".join(path)).lower()
    result = [stem(word) for word in letters.split(" ") if word and word not in stop_words]
    last = list(dict.fromkeys(reversed(result)))[::-1]
    return " ".join(last) if len(path) > 1 and last else None


@pytest.fixture(scope="module")
def con() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    run(connection, "amazon/stop_words")
    return connection


def made(con: duckdb.DuckDBPyConnection, catalogue: list[Item], stemmed: bool) -> dict[str, Any]:
    """Queries and texts of a catalogue, each item bought once; the connection is left as it was."""
    rows = [{"item": f"i{n:02d}", "title": title, "categories": paths} for n, (title, paths) in enumerate(catalogue)]
    con.begin()
    try:
        con.from_arrow(pa.Table.from_pylist(rows, ITEMS)).create("item_rows")
        bought = {"user": "u", "behavior": "rec", "query": None}
        purchases = [{**bought, "item": row["item"], "ts": n, "source_row": n} for n, row in enumerate(rows)]
        con.from_arrow(pa.Table.from_pylist(purchases, INTERACTIONS)).create("interactions")
        run(con, "amazon/item_paths")
        run(con, "amazon/path_words")
        distinct = [word for (word,) in run(con, "amazon/distinct_words").fetchall()]
        con.register("stems", stems_of(distinct if stemmed else []))
        for step in ("path_queries", "item_queries"):
            run(con, f"amazon/{step}")
        run(con, "amazon/search_events", {"seed": 0})
        run(con, "amazon/item_text")
        run(con, "prepared/items")
        return {
            name: con.table(name).to_arrow_table().to_pylist() for name in ("item_queries", "interactions", "items")
        }
    finally:
        con.rollback()
        con.unregister("stems")


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(catalogue=items, stemmed=st.booleans())
@example(catalogue=[("", [["Kindle Store", "Kindle eBooks"]])], stemmed=False)
@example(catalogue=[("", [["Fishing Rods", "Rod Cases"], ["rod", "fishing"], ["Rod"], ["The", "of"]])], stemmed=True)
@example(catalogue=[("it's", [["a'; drop table interactions; --", '"'], ["x" * 100_000, "y"], []])], stemmed=False)
def test_queries_are_those_of_the_published_procedure(
    con: duckdb.DuckDBPyConnection, catalogue: list[Item], stemmed: bool
) -> None:
    stop_words = {word for (word,) in con.table("stop_words").fetchall()}
    stem = STEM if stemmed else str
    result = made(con, catalogue, stemmed)
    expected = {
        f"i{n:02d}": sorted({q for path in paths if (q := query_of(path, stop_words, stem))})
        for n, (_, paths) in enumerate(catalogue)
    }
    queries: dict[str, list[str]] = {item: [] for item in expected}
    for row in sorted(result["item_queries"], key=lambda row: (row["item"], row["number"])):
        queries[row["item"]].append(row["query"])
        assert row["queries"] == len(expected[row["item"]])
    assert queries == expected

    searched = {row["item"]: row["query"] for row in result["interactions"] if row["behavior"] == "src"}
    assert searched.keys() == {item for item, result in expected.items() if result}
    assert all(query in expected[item] for item, query in searched.items())
    assert sum(row["behavior"] == "src" for row in result["interactions"]) == len(searched)

    for row, (title, paths) in zip(result["items"], catalogue, strict=True):
        assert row["title"] == title
        assert row["category_paths"] == paths
        assert row["category_text"] == " ".join(" ".join(path) for path in paths)


def test_a_query_has_letters_and_single_blanks_only_whatever_the_path(con: duckdb.DuckDBPyConnection) -> None:
    """Every character up to U+FFFF between two words of its own: what is not a letter or a blank disappears."""
    characters = [chr(c) for c in range(1, 0x10000) if not 0xD800 <= c < 0xE000]
    paths = [["Top", f"Ab{c}Cd"] for c in characters]
    result = made(con, [("", paths)], stemmed=False)["item_queries"]
    letters = {f"top ab{c.lower()}cd" for c in characters if re.fullmatch("[a-zA-Z]", c)}
    assert {row["query"] for row in result} == letters | {"top ab cd", "top abcd"}


def test_stop_words_are_lower_case_words_without_apostrophes(con: duckdb.DuckDBPyConnection) -> None:
    """Compared with cleaned words, any other form could never match."""
    listed = [word for (word,) in con.table("stop_words").fetchall()]
    assert len(listed) == len(set(listed)) > 150
    assert all(re.fullmatch("[a-z]+", word) for word in listed)
    assert {"the", "and", "of", "for", "with", "dont"} <= set(listed)
    assert not {"kindle", "store", "women", "men", "new", "one"} & set(listed)
