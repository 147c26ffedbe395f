"""The fields of a request: their types and limits, for every server that reads requests.

Ids and queries may be numbers, which are read as their text. The message of a refusal names the field and the value.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from gensr_model.errors import FieldError
from gensr_model.serving.service import Request

_EXACT = 2**53  # above it floats skip whole numbers


class Limits(NamedTuple):
    """What a request may hold at most. A model's work for a request is bounded by them."""

    ids: int = 1_000  # ids in a list
    id_characters: int = 256
    query_characters: int = 2_000
    top_n: int = 1_000


LIMITS = Limits()


def parse_request(row: Mapping[Any, object], top_n: int | None = None, limits: Limits = LIMITS) -> Request:
    """The fields of a request, None where one is not given.

    Args:
        row: values by the name of the field. None means that a field is not given.
        top_n: the value for a request without a ``top_n`` of its own.
    Raises:
        FieldError: a field is unknown, or its value has another type or is above a limit.
    """
    check_names(row, Request._fields)
    given = {str(name): value for name, value in row.items() if value is not None}
    texts = {
        name: text(name, given[name], limit)
        for name, limit in (("user", limits.id_characters), ("query", limits.query_characters))
        if name in given
    }
    lists = {
        name: _texts(name, given[name], limits) for name in ("history", "behaviors", "candidates") if name in given
    }
    return Request(**texts, **lists, top_n=_top_n(given.get("top_n", top_n), limits.top_n))  # type: ignore[arg-type]


def check_names(row: Mapping[Any, object], known: Sequence[str]) -> None:
    """Raise FieldError for a name that is not known, with the nearest known one."""
    for name in row:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, 1)
            meant = f" (did you mean {near[0]}?)" if near else ""
            fields = ", ".join(known)
            message = f"{str(name)[:100]}: there is no such field{meant}. Give one of {fields}."
            raise FieldError(message, field=str(name)[:100], value=row[name], wanted=f"one of the fields {fields}")


def text(field: str, given: object, limit: int) -> str:
    """A value as text of at most ``limit`` characters. pandas makes floats of numbers beside a null."""
    found = given if isinstance(given, str) else _number_text(field, given)
    if len(found) > limit:
        raise _wrong(field, given, f"at most {limit} characters", f"{len(found)} characters")
    try:
        found.encode()
    except UnicodeEncodeError:
        raise _wrong(field, given, "text in Unicode", ascii(given)[:80]) from None
    return str(found)


def whole(field: str, given: object, least: int, most: int) -> int:
    """A whole number in a range, or its digits as text."""
    number = int(given) if isinstance(given, str) and _is_short_number(given) else _whole(given)
    if number is None:
        raise _wrong(field, given, "a whole number")
    if number > most:
        raise _wrong(field, given, f"at most {most}")
    if number < least:
        raise FieldError(
            f"{field} is {number}. Give {least} or more.", field=field, value=given, wanted=f"{least} or more"
        )
    return number


def flag(field: str, given: object) -> bool:
    """True or false."""
    if not isinstance(given, bool):
        raise _wrong(field, given, "true or false")
    return given


def shortened(value: object) -> str:
    """A value for a message: its beginning, where it is long."""
    if isinstance(value, int) and value.bit_length() > 1_000:  # Python refuses to print thousands of digits
        return f"a number of {value.bit_length()} bits"
    if isinstance(value, (list, tuple, np.ndarray)) and len(value) > 5:
        return f"{len(value)} values, the first {shortened(list(value[:5]))}"
    shown = repr(value[:200] if isinstance(value, str) else value)
    return shown if len(shown) <= 100 else f"{shown[:99]}…"


def _top_n(given: object, most: int) -> int | None:
    return None if given is None else whole("top_n", given, 1, most)


def _texts(field: str, given: object, limits: Limits) -> list[str]:
    if not isinstance(given, (list, tuple, np.ndarray)):
        raise _wrong(field, given, "a list of ids")
    if len(given) > limits.ids:
        raise _wrong(field, given, f"at most {limits.ids} ids", f"{len(given)}")
    return [text(field, value, limits.id_characters) for value in given]


def _number_text(field: str, given: object) -> str:
    number = _whole(given)
    if number is None:
        raise _wrong(field, given, "text")
    if isinstance(given, (float, np.floating)) and abs(number) > _EXACT:
        raise FieldError(
            f"{field}: {given!r} is too large for an exact number beside nulls. Send it as text.",
            field=field, value=given, wanted="text",
        )  # fmt: skip
    return str(number)


def _is_short_number(given: str) -> bool:
    digits = given.removeprefix("-")
    return digits.isascii() and digits.isdecimal() and len(digits) < 20


def _whole(given: object) -> int | None:
    """The whole number that a value is, or None. A number with hundreds of digits is none either."""
    if isinstance(given, (int, np.integer)) and not isinstance(given, bool):
        return int(given) if int(given).bit_length() < 1_000 else None
    if isinstance(given, (float, np.floating)) and math.isfinite(given) and given == int(given):
        return int(given)
    return None


def _wrong(field: str, given: object, expected: str, seen: str | None = None) -> FieldError:
    message = f"{field}: expected {expected}, got {seen or shortened(given)}"
    return FieldError(message, field=field, value=given, wanted=expected)
