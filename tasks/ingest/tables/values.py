"""Normalises values of columns as text: missing values, ids, queries and texts."""

from __future__ import annotations

import ast
import functools
import json
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from tasks.ingest import python_literals
from tasks.ingest.clean_text import clean_text

#: Texts that exports write for a missing value. Case counts: a user may be called Nan.
MISSING = pa.array(
    ["", "null", "NULL", "Null", "nan", "NaN", "NAN", "-nan", "NaT", "nat", "None", "\\N", "<NA>", "[]", "{}"],
    pa.string(),
)
#: What stands between several columns of one role that are joined.
BETWEEN = {"category": " > ", "title": " ", "brand": " ", "description": " ", "item_title": " "}
Texts: TypeAlias = "pa.ChunkedArray | pa.Array"


def known(values: Texts) -> Texts:
    """Trimmed values, null where the text means that there is no value."""
    if values.null_count == len(values):
        return values
    trimmed = pc.utf8_trim_whitespace(values)
    return pc.if_else(pc.is_in(trimmed, MISSING), pa.scalar(None, pa.string()), trimmed)


def texts(values: Texts) -> Texts:
    """Readable texts without tags and entities of HTML, in NFKC, so that they have the letters of queries."""
    if pc.any(pc.match_substring_regex(values, "[&<]")).as_py():
        values = known(_each(values, _without_markup))
    # pc.utf8_normalize does not join letters with their marks.
    return values if _all_ascii(values) else _each(values, functools.partial(unicodedata.normalize, "NFKC"))


def ids(values: Texts) -> Texts:
    """Normalised ids: 12.0, which a table with missing values makes of 12, becomes 12."""
    if pc.any(pc.ends_with(values, ".0")).as_py():
        return pc.replace_substring_regex(values, r"^(-?\d+)\.0$", r"\1")
    return values


def queries(values: Texts) -> Texts:
    """Normalised queries: NFKC, case folded, one blank between words. Letters of every script stay."""
    encoded = _whole(values).dictionary_encode()
    distinct = encoded.dictionary
    lower = pc.ascii_lower(distinct) if _all_ascii(distinct) else _each(distinct, _folded)
    return known(pc.replace_substring_regex(lower, r"\s+", " ")).take(encoded.indices)


def lists(values: Texts) -> Texts:
    """The values, with lists in Python's notation rewritten as JSON."""
    if not pc.any(pc.match_substring_regex(values, r"^\s*\[.*'")).as_py():
        return values
    return _each(values, _as_json)


def _as_json(text: str) -> str:
    if not text.lstrip().startswith("["):
        return text
    value = python_literals.parse(text.strip().encode())
    if value is python_literals.UNSURE:
        try:
            value = ast.literal_eval(text.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError):  # a text in brackets
            return text
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list) else text


def _without_markup(text: str) -> str:
    if "&" not in text and "<" not in text:
        return text
    if not text.startswith("["):
        return clean_text(text) or ""
    try:
        parts = json.loads(text, object_hook=str)
    except (ValueError, RecursionError):
        return clean_text(text) or ""
    return json.dumps(_cleaned(parts), ensure_ascii=False)


def _cleaned(part: Any) -> Any:
    return [_cleaned(each) for each in part] if isinstance(part, list) else clean_text(part)


def _all_ascii(values: Texts) -> bool:
    return pc.all(pc.string_is_ascii(values)).as_py() is not False


def _each(values: Texts, change: Callable[[str], str]) -> Texts:
    """The values changed, each distinct text once."""
    encoded = _whole(values).dictionary_encode()
    distinct = [None if text is None else change(text) for text in encoded.dictionary.to_pylist()]
    return pa.array(distinct, pa.string()).take(encoded.indices)


def _whole(values: Texts) -> pa.Array:
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def joined(columns: Sequence[Texts], role: str) -> Texts:
    """Several columns of one role as one: levels of a category path, parts of a text, else the first value."""
    if len(columns) == 1:
        return listed(columns[0], BETWEEN[role]) if role in BETWEEN and role != "category" else columns[0]
    if role not in BETWEEN:
        return pc.coalesce(*map(known, columns))
    parts = [known(listed(known(column), BETWEEN[role])) for column in columns]
    # null_handling="skip" loses rows with only nulls.
    return pc.binary_join_element_wise(*parts, BETWEEN[role], null_handling="replace")


def listed(values: Texts, between: str) -> Texts:
    """The values, with JSON lists of texts joined to one text."""
    lists = pc.and_(pc.starts_with(values, "["), pc.ends_with(values, "]"))
    if not pc.any(lists).as_py():
        return values
    both = zip(values.to_pylist(), lists.to_pylist(), strict=True)
    return pa.array([_joined(text, between) if at else text for text, at in both], pa.string())


def _joined(text: str, between: str) -> str:
    try:
        parts = [part for part in json.loads(text) if part is not None]
    except (ValueError, RecursionError):  # a text in brackets, which may be as deep as it likes
        return text
    whole = between.join(parts) if all(isinstance(part, str) for part in parts) else text
    return whole.encode("utf-8", "replace").decode()  # half of a surrogate pair is no character


def as_text(values: Texts) -> Texts:
    """A column of plain values as text: times as ms since 1970, whole floats without a point."""
    kind = values.type
    if pa.types.is_dictionary(kind):
        return as_text(values.cast(kind.value_type))
    if pa.types.is_string(kind):
        return values
    if pa.types.is_timestamp(kind):
        return values.cast(pa.timestamp("ms", kind.tz), safe=False).cast(pa.int64()).cast(pa.string())
    if pa.types.is_floating(kind):
        return _floats(values.cast(pa.float64()))
    return values.cast(pa.string())


def _floats(values: Texts) -> Texts:
    whole = pc.and_kleene(pc.equal(pc.floor(values), values), pc.less(pc.abs(values), 2.0**62))
    integers = pc.if_else(whole, values, 0.0).cast(pa.int64(), safe=False).cast(pa.string())
    return pc.if_else(whole, integers, values.cast(pa.string()))
