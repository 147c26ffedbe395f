"""The fast reader of meta lines: what it returns is what the slow way returns, or it says that it is not sure."""

from __future__ import annotations

import gzip
import json
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tasks.ingest.formats.amazon_meta import parse_entry
from tasks.ingest.python_literals import UNSURE, parse

QUIRKS = ["it's", '"so"', "a'b\"c", "\\", "\n", "\t", "é", "\U0001f600", "\ud800", "null", ": true", "0" * 25]
texts = st.text(max_size=12) | st.sampled_from([*QUIRKS, "\x00", "\x7f", "\u2028"])
scalars = texts | st.none() | st.booleans() | st.integers() | st.floats() | st.just(10**19) | st.just(-0.0)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.tuples(inner) | st.dictionaries(texts | st.integers(), inner, max_size=4)
    ),
    max_leaves=12,
)
STRINGS = ["'a'", '"b"', "u'c'", "r'\\d'", "'''", "'\\''", "'\\x41'", "'\\u0041'", "'\\N{BULLET}'", "'\\ud83d\\ude00'"]
WORDS = ["True", "None", "true", "null", "nan", "1", "01", "1_0", "1e400", "1e5", ".5", "0x1", "1j", "9" * 20, "-0"]
tokens = st.sampled_from([*"{}[](),:'\"\\#+-. \t\r\x0cé", *STRINGS, *WORDS, "\\n", "[" * 60])


def same_or_unsure(line: bytes) -> None:
    """What the fast reader dares to return is the slow way's value, in every type."""
    got = parse(line)
    if got is UNSURE:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = parse_entry(line.decode())  # an exception here: the fast reader made a value of a bad line
    assert repr(got) == repr(expected), line


@given(values)
def test_a_literal_of_any_value(value: Any) -> None:
    same_or_unsure(repr(value).encode("utf-8", "surrogatepass"))


@given(values)
def test_json_of_any_value(value: Any) -> None:
    try:
        line = json.dumps(value)
    except TypeError:
        return
    same_or_unsure(line.encode())


@given(st.lists(tokens, max_size=14).map("".join))
@example("{'a': true}")
@example("{'a': [null]}")
@example("{'a' : \t false}")
@example("{'a': 123456789012345678901}")
@example("[" * 300 + "]" * 300)
@example("{'a': " + "[" * 95 + "]" * 95 + "}")
@example("{'a': " + "[" * 250 + "]" * 250 + "}")
@example("{'a': '\\ud83d\\ude00'}")
@example("{'a': 'x' 'y'}")
@example("{'a': '''x'''}")
@example("{'a': 1} # 'it'")
@example("{'a': '\\d'}")
@example("{'a': '\\400'}")
@example('{"a": "\\/", \'b\': 1}')
@example("{'a': __import__('os')}")
def test_hostile_lines(line: str) -> None:
    same_or_unsure(line.encode())


@given(st.binary(max_size=40))
def test_any_bytes(line: bytes) -> None:
    same_or_unsure(line)


@given(values, st.integers(min_value=0), st.sampled_from([b"'", b'"', b"\\", b"#", b"\x00", b"\xff", b",", b"true"]))
def test_a_damaged_literal(value: Any, place: int, damage: bytes) -> None:
    line = repr({"title": value}).encode("utf-8", "surrogatepass")
    at = place % (len(line) + 1)
    same_or_unsure(line[:at] + damage + line[at:])


@pytest.mark.parametrize(
    "line",
    [
        "{'asin': 'A', 'title': 'plain'}",
        "{'asin': 'A', 'title': \"it's\"}",
        "{'asin': 'A', 'title': 'say \"hi\"'}",
        "{'asin': 'A', 'title': 'it\\'s \"so\"', 'price': 1.5, 'related': {'also_bought': ['B', 'C']}}",
        "{'asin': 'A', 'title': 'a\\nb\\\\ \\x41 \\u00e9'}",
        "{'asin': 'A', 'title': 'that is true or null or false'}",
        '{"asin": "A", "title": "json", "rank": null}',
    ],
)
def test_ordinary_lines_take_the_fast_way(line: str) -> None:
    assert parse(line.encode()) == parse_entry(line)


@pytest.mark.parametrize(
    "name",
    ["amazon-scientific/meta_Industrial_and_Scientific.json.gz", "amazon-digital-music/meta_Digital_Music.json.gz"],
)
def test_real_meta_is_read_alike_and_nearly_all_of_it_fast(real_data: Path, name: str) -> None:
    lines = gzip.decompress((real_data / name).read_bytes()).splitlines()
    result = [parse(line) for line in lines]
    unsure = sum(value is UNSURE for value in result)
    assert unsure < 0.002 * len(lines)
    for line, value in zip(lines, result, strict=True):
        assert value is UNSURE or value == parse_entry(line.decode())
