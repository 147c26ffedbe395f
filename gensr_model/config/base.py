"""Base class, shared types, merging and digests of all configs."""

from __future__ import annotations

import hashlib
import json
import types
from collections.abc import Collection
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, PrivateAttr

Task = Literal["recommendation", "search"]
TASKS: tuple[Task, Task] = ("recommendation", "search")
Split = Literal["train", "valid", "test"]
SPLITS: tuple[Split, ...] = ("train", "valid", "test")
Protocol = Literal["uniform", "popularity", "bm25", "shown"]
# Protocols that need a query: recommendation has no such candidates.
SEARCH_ONLY: frozenset[Protocol] = frozenset({"bm25"})
# The protocol of what was shown: its lists have different lengths, and samples without impressions have none.
SHOWN: Protocol = "shown"


class UndeclaredField(RuntimeError):
    """A stage reads a config field that its key does not include, so two configs would share one result."""


class Frozen(BaseModel):
    """Base of every config: immutable, with finite numbers only. An unknown field is an error, not a silent typo."""

    # Errors repeat no input: it may hold a secret (``gensr_model/config/secrets.py``).
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)
    # Of a view made by ``restricted``: the reader's name, and the view's place in the whole tree.
    _view_of: tuple[str, str] | None = PrivateAttr(None)

    @classmethod
    def start(cls, given: dict[str, Any]) -> dict[str, Any]:
        """Starting values of a section, chosen by what the user set in it. They replace the defaults; the base has
        none.
        """
        del given
        return {}

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Python calls this only for a missing attribute, so reading a field of a view costs nothing extra."""
            if name in type(self).model_fields:
                raise self._undeclared(name)
            return super().__getattr__(name)

    def model_dump(self, **options: Any) -> dict[str, Any]:
        """Pydantic's ``model_dump``. Raises UndeclaredField for a view, which lacks some fields."""
        self._require_all()
        return super().model_dump(**options)

    def model_dump_json(self, **options: Any) -> str:
        """Pydantic's ``model_dump_json``. Raises UndeclaredField for a view, which lacks some fields."""
        self._require_all()
        return super().model_dump_json(**options)

    def _require_all(self) -> None:
        for name in type(self).model_fields:
            if isinstance(value := getattr(self, name), Frozen):
                value._require_all()

    def _undeclared(self, name: str) -> UndeclaredField:
        reader, place = self._view_of or ("somebody", "")
        return UndeclaredField(
            f"{reader} reads the config field {place}{name}, which the stage does not declare. Add "
            f"{place}{name} to the fields that decide the key of the stage."
        )


View = TypeVar("View", bound=Frozen)


def restricted(config: View, fields: Collection[str], left_out: Collection[str], reader: str, place: str = "") -> View:
    """A view of a config that holds only some fields. Reading another field raises UndeclaredField.

    Args:
        fields: dotted names of sections (``train``) and fields (``train.epochs``) that the view holds.
        left_out: names below ``fields`` that the view does not hold.
        reader: name of the code that reads the view, for the error message.
        place: prefix of ``config`` in the whole tree, with a dot at its end.
    """
    held: dict[str, Any] = {}
    for name in type(config).model_fields:
        path, value = f"{place}{name}", getattr(config, name)
        whole = any(path == field or path.startswith(f"{field}.") for field in fields)
        if path in left_out or not (whole or _any_within(path, fields)):
            continue
        if isinstance(value, Frozen) and (not whole or _any_within(path, left_out)):
            value = restricted(value, fields, left_out, reader, f"{path}.")
        held[name] = value
    view = config.model_copy()
    vars(view).clear()
    vars(view).update(held)
    view._view_of = (reader, place)
    return view


def _any_within(section: str, fields: Collection[str]) -> bool:
    return any(field.startswith(f"{section}.") for field in fields)


def overlay(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """A copy of ``base`` with the values of ``over`` in place of its own. Objects are merged key by key."""
    out = dict(base)
    for key, value in over.items():
        known = out.get(key)
        out[key] = overlay(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return out


class Proposal(str):
    """A value that a person has to confirm: ``gensr init`` writes its field as a comment."""


def digest(value: Any, length: int = 16) -> str:
    """Stable hex digest of a config or of any JSON value. It is the SHA-256 of the JSON with sorted keys and no white
    space.
    """
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def members(kind: Any) -> tuple[Any, ...]:
    """The type itself, or what it is a union of."""
    if get_origin(kind) is Annotated:
        return members(get_args(kind)[0])
    if get_origin(kind) in (Union, types.UnionType):
        return tuple(member for part in get_args(kind) for member in members(part))
    return (kind,)
