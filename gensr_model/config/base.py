"""What all configs share: their base, the words that several of them use, merging and digests."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

Task = Literal["recommendation", "search"]
TASKS: tuple[Task, Task] = ("recommendation", "search")
Split = Literal["train", "valid", "test"]
Protocol = Literal["uniform", "popularity", "bm25"]
# Protocols that need a query: recommendation has no such candidates.
SEARCH_ONLY: frozenset[Protocol] = frozenset({"bm25"})


class Frozen(BaseModel):
    """Base of every config: immutable, numbers are finite, and an unknown field is an error, not a silent typo."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def overlay(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """A copy of ``base`` in which the values of ``over`` replace its own; objects are merged key by key."""
    out = dict(base)
    for key, value in over.items():
        known = out.get(key)
        out[key] = overlay(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return out


def digest(value: Any, length: int = 16) -> str:
    """Stable hex digest of a config or of any JSON value: sorted keys, no white space, sha256."""
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:length]
