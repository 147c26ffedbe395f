"""Values of columns as text: missing ones are null, ids keep one spelling, queries one case in every script."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

#: How exports write that there is no value. Case counts: a user may be called Nan.
MISSING = pa.array(
    ["", "null", "NULL", "Null", "nan", "NaN", "NAN", "-nan", "NaT", "nat", "None", "\\N", "<NA>"], pa.string()
)
Texts: TypeAlias = "pa.ChunkedArray | pa.Array"


def known(values: Texts) -> Texts:
    """Trimmed; null where the text says that there is no value."""
    trimmed = pc.utf8_trim_whitespace(values)
    return pc.if_else(pc.is_in(trimmed, MISSING), pa.scalar(None, pa.string()), trimmed)


def texts(values: Texts) -> Texts:
    """Texts for people: NFKC, so that they have the letters of queries."""
    return values if pc.all(pc.string_is_ascii(values)).as_py() is not False else pc.utf8_normalize(values, "NFKC")


def ids(values: Texts) -> Texts:
    """Ids: 12.0, which a table with missing values makes of 12, is 12."""
    if pc.any(pc.ends_with(values, ".0")).as_py():
        return pc.replace_substring_regex(values, r"^(-?\d+)\.0$", r"\1")
    return values


def queries(values: Texts) -> Texts:
    """NFKC, case folded, one blank between words; letters of every script stay."""
    if pc.all(pc.string_is_ascii(values)).as_py() is not False:
        lower = pc.ascii_lower(values)
    else:
        encoded = _encoded(values)
        distinct = pa.array([_folded(text) for text in encoded.dictionary.to_pylist()], pa.string())
        lower = distinct.take(encoded.indices)
    return known(pc.replace_substring_regex(lower, r"\s+", " "))


def _encoded(values: Texts) -> pa.DictionaryArray:
    """Each distinct text once."""
    whole = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    return whole.dictionary_encode()


def _folded(text: str | None) -> str | None:
    return None if text is None else unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def joined(columns: Sequence[Texts], role: str) -> Texts:
    """Several columns of one role as one: levels of a category path, else parts of a text."""
    if len(columns) == 1:
        return columns[0]
    between = " > " if role == "category" else " "
    return known(pc.binary_join_element_wise(*map(known, columns), between, null_handling="replace"))


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
