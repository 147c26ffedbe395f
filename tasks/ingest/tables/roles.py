"""The column of each role of a table, by the config or by usual names."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from gensr_model.errors import DataError

_ITEM = ("item_id", "itemId", "ITEM_ID", "product_id", "sku", "asin", "object_id")
_USER = ("user_id", "userId", "USER_ID", "client_id", "visitorId", "uid", "user_pseudo_id", "customer_id",
         "customer", "kunde", "utilisateur", "usuario")  # fmt: skip
_QUERY = ("query", "search_query", "searchQuery", "user_query", "keyword", "search_term", "suchbegriff",
          "requête", "consulta")  # fmt: skip
_TIME = ("timestamp", "TIMESTAMP", "ts", "event_time", "eventTime", "created_at", "event_timestamp")
#: Table -> role -> usual names, the most likely first. Case, accents and signs such as _ do not count.
USUAL: dict[str, dict[str, tuple[str, ...]]] = {
    "events": {
        "user": _USER,
        "item": _ITEM,
        "time": _TIME,
        "behavior": ("event_type", "EVENT_TYPE", "action", "action_name", "event_name"),
        "query": _QUERY,
        "query_id": ("query_id",),
        "session": ("session", "session_id"),
        "weight": ("weight",),
        "position": ("position",),
        "item_title": (),
    },
    "queries": {
        "query_id": ("query_id",),
        "query": _QUERY,
        "user": _USER,
        "time": _TIME,
        "items": ("query_response_hit_ids", "shown_items"),
    },
    "items": {
        "item": (*_ITEM, "id"),
        "title": ("title", "name", "titel", "titre", "título"),
        "brand": ("brand",),
        "category": ("category", "categories", "kategorie", "catégorie", "categoría"),
        "description": ("description",),
    },
    "users": {"user": (*_USER, "id")},
}
REQUIRED = {
    "events": ("user", "item", "time"),
    "queries": ("query_id", "query"),
    "items": ("item",),
    "users": ("user",),
}


class Column(NamedTuple):
    """The columns of a role, in order, and the reason for the choice."""

    names: tuple[str, ...]
    why: str


def find_columns(
    table: str,
    given: Mapping[str, str | Sequence[str] | None],
    seen: Sequence[str],
    path: Path,
    sparse: bool = False,
    lenient: bool = False,
    inner: Sequence[str] | None = (),
    required: bool = True,
) -> dict[str, Column]:
    """The columns of each role in a file.

    Args:
        table: a key of ``USUAL``.
        given: role -> the column or columns that the config names, or None. A name that ends in ? may be absent.
        seen: the columns of the file.
        sparse: whether a column may be absent where no row has a value, as in JSON lines. Columns that the config names
            are then looked for in all rows.
        lenient: whether that holds for required columns too.
        inner: the columns with paths such as ``object.id`` in place of objects. None where no column holds objects.
        required: whether a required role without a column is an error.
    Raises:
        DataError: a column that the config names, or one of a required role, is not there.
    """
    found: dict[str, Column] = {}
    shown = inner or seen
    for role, usual in USUAL[table].items():
        named = given.get(role)
        names = (named,) if isinstance(named, str) else tuple(named or ())
        if not names or names == ("???",):  # a blank that `gensr init` left
            if (name := _by_usual_name(usual, shown)) is not None:
                found[role] = Column((name,), "usual name")
            continue
        plain = {name: name if name in seen else name.removesuffix("?") for name in names}
        there = [name for name in plain.values() if name in seen or (inner is not None and name.split(".")[0] in seen)]
        absent = [name for name in names if name not in there and not name.endswith("?")]
        if absent and not (sparse and (there or lenient or role not in REQUIRED[table])):
            raise _missing(path, f"logs.{table}.columns.{role} names {absent[0]!r}, which is no column", absent, shown)
        if kept := tuple(plain.values()) if sparse else tuple(there):
            found[role] = Column(kept, "named in the config")
    lacking = [role for role in REQUIRED[table] if role not in found]
    if lacking and required:
        what = f"no column of the {table} has a usual name of the role {lacking[0]}"
        more = [f"{role} (nearest: {', '.join(nearest(USUAL[table][role], shown))})" for role in lacking[1:]]
        also = f" Beside it these are not found: {', '.join(more)}." if more else ""
        error = _missing(path, what, USUAL[table][lacking[0]], shown, f"logs.{table}.columns.{lacking[0]}", also)
        error.blanks = blanks(table, lacking, shown)
        raise error
    return found


def blanks(table: str, roles: Iterable[str], seen: Sequence[str]) -> dict[str, str]:
    """The fields that name the columns of these roles, and the columns that there are, the likeliest first."""
    return {
        f"logs.{table}.columns.{role}": f"columns seen: {', '.join(nearest(USUAL[table][role], seen, len(seen)))}"
        for role in roles
    }


def _by_usual_name(usual: Sequence[str], seen: Sequence[str]) -> str | None:
    exact = next((name for name in usual if name in seen), None)
    if exact is not None:
        return exact
    plain = {bare(name): name for name in reversed(seen)}
    return next((plain[bare(name)] for name in usual if bare(name) in plain), None)


def bare(name: str) -> str:
    """The name without case, accents and signs."""
    return "".join(letter for letter in unicodedata.normalize("NFKD", name.casefold()) if letter.isalnum())


def _missing(
    path: Path, what: str, wanted: Sequence[str], seen: Sequence[str], field: str = "", also: str = ""
) -> DataError:
    near = nearest(wanted, seen)
    shown = ", ".join(seen)
    shown = shown if len(shown) <= 500 else f"{shown[:500]} …"
    correct = " Correct the name, or end it in ? where not every file has the column."
    set_it = f" Name it as {field}.{also}" if field else correct
    if any(name.replace(".", "", 1).isdecimal() for name in seen):
        set_it += " If the first line is data, name the columns in the table's header."
    return DataError(f"{path}: {what}. Columns: {shown}. Nearest: {', '.join(near)}.{set_it}")


def nearest(wanted: Sequence[str], seen: Sequence[str], count: int = 3) -> list[str]:
    """The columns with names most similar to one of the wanted names, the most similar first."""

    def likeness(name: str) -> float:
        return max(difflib.SequenceMatcher(None, bare(name), bare(each)).ratio() for each in wanted)

    return sorted(seen, key=likeness, reverse=True)[:count]
