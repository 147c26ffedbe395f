"""Texts of catalogues as people read them: without HTML, and null where a program wrote a missing value."""

from __future__ import annotations

import html
import math
import re
from typing import Any

# Code is removed with its tags; an unclosed tag removes the rest of the text.
_CODE = re.compile(
    r"<(?P<name>script|style|noscript|template|iframe|object|svg|head)\b[^<>]*(?<!/)>.*?(?:</(?P=name)\s*>|\Z)",
    re.DOTALL | re.IGNORECASE,
)
# Only what looks like a tag, so that "size < 10 and > 5" stays what it is.
_TAG = re.compile(r"<(?:/?[A-Za-z][^<>]*>|!--.*?(?:-->|\Z)|!\[CDATA\[|[!?][A-Za-z][^<>]*>)", re.DOTALL)
_BARE_SCRIPT = ".getTime()"  # the 2018 release has a page's script in place of some titles
_LONGEST = 16  # with blanks around it
_MISSING = frozenset({"", "nan", "NaN", "NAN", "NaT", "None", "NONE", "null", "NULL", "\\N", "<NA>"})


def is_missing(value: Any) -> bool:
    """Whether a value is None, NaN, or a text that programs write for a missing value."""
    if isinstance(value, str):
        return len(value) < _LONGEST and value.strip() in _MISSING
    return value is None or (isinstance(value, float) and not math.isfinite(value))


def clean_text(value: Any) -> str | None:
    """The text with entities unescaped (also double escapes), tags stripped, and white space folded. None if empty.

    Code between tags is removed with them. Missing parts of a list are left out.
    """
    if isinstance(value, list):
        value = " ".join(str(part) for part in value if not is_missing(part))
    if is_missing(value):
        return None
    text = str(value)
    if "&" in text:
        text = html.unescape(html.unescape(text))
    if "<" in text:
        text = _TAG.sub(" ", _CODE.sub(" ", text))
    if _BARE_SCRIPT in text:
        return None
    if not text.isascii():
        text = encodable(text)
    return " ".join(text.split()) or None


def encodable(text: str) -> str:
    """The text with "?" for half a surrogate pair, which an escape can produce and no file can hold."""
    return text.encode("utf-8", "replace").decode()
