"""Reads meta lines, JSON or Python literals, with a JSON parser wherever the value is provably the same.

``ast.literal_eval`` builds a syntax tree of every line. Most literals differ from JSON only in their quotes: those are
rewritten and parsed by orjson. A line that may differ (a tuple, ``None``, an escape with another meaning, a number
beyond 64 bits, deep nesting, anything that orjson refuses) goes to the slow way. Nothing is evaluated.
"""

from __future__ import annotations

import ast
import re
from typing import Any, Final

import orjson

#: The result of ``parse`` for a line that it cannot read safely.
UNSURE: Final = object()

# Outside strings JSON knows words that Python does not; inside strings, after such a character, they only cost time.
_JSON_WORDS = re.compile(rb"[:\[,]\s*(?:true|false|null)")
_DIGITS = bytes.maketrans(b"123456789", b"000000000")
_LONG_NUMBER = b"0" * 18  # orjson turns integers beyond 64 bits into floats
_DEEPEST = 90  # brackets; Python gives up at 200 levels, orjson at 1,024
# A stretch without a backslash whose strings are single-quoted and hold no quote; or one string of another kind.
_PIECES = re.compile(
    rb"""((?>[^'"\\]+|'[^'"\\]*')++) | ("[^"\\]*") | ('(?>[^'\\]+|\\.)*' | "(?>[^"\\]+|\\.)*") | (.)""",
    re.VERBOSE | re.DOTALL,
)
# The escapes that are no matter of taste or version; another one makes a line unsure.
_ESCAPES = re.compile(rb"""(?:[^\\]++|\\(?:[\\'"nrtabfv]|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}))*+""", re.DOTALL)


def parse(line: bytes) -> Any:
    """The value of a line as ``json.loads`` or, where that fails, ``ast.literal_eval`` gives it; or ``UNSURE``.

    It never raises: a line that is neither is ``UNSURE`` too.
    """
    if _LONG_NUMBER in line.translate(_DIGITS) or line.count(b"[") + line.count(b"{") > _DEEPEST:
        return UNSURE
    try:
        if not line.startswith(b"{'"):  # what begins so is no JSON
            try:
                return orjson.loads(line)
            except orjson.JSONDecodeError:
                pass
        text = _as_json(line)
        return UNSURE if text is None or _has_json_word(text) else orjson.loads(text)
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return UNSURE


def _has_json_word(text: bytes) -> bool:
    possible = b"true" in text or b"false" in text or b"null" in text
    return possible and _JSON_WORDS.search(text) is not None


def _as_json(line: bytes) -> bytes | None:
    """The line with its strings in JSON's notation, or None where a string is not understood."""
    if b'"' not in line and b"\\" not in line:
        return line.replace(b"'", b'"')
    parts = []
    for piece in _PIECES.finditer(line):
        plain, double, other, _ = piece.groups()
        if plain is not None:
            parts.append(plain.replace(b"'", b'"'))
        elif double is not None:
            parts.append(double)
        elif other is not None:
            if not _ESCAPES.fullmatch(other):
                return None
            try:
                parts.append(orjson.dumps(ast.literal_eval(other.decode())))
            except (ValueError, SyntaxError):
                return None
        else:
            return None
    return b"".join(parts)
