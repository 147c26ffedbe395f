"""The base of every config."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """Base of every config: immutable, numbers are finite, and an unknown field is an error, not a silent typo."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
