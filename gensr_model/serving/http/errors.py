"""Refusals over HTTP, all in one form: ``{"error": {"field", "value", "expected", "message"}}``, without a trace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gensr_model.errors import DataError, FieldError
from gensr_model.serving.fields import shortened

OVERLOADED, UNPROCESSABLE, TOO_LARGE = 429, 422, 413


class Refusal(Exception):
    """An answer that is an error. ``field`` is None where no field of the request is at fault."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        field: str | None = None,
        value: object = None,
        expected: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.headers = status, message, dict(headers or {})
        self.field, self.value, self.expected = field, value, expected

    @staticmethod
    def of(error: DataError) -> Refusal:
        """The refusal of a request that a model cannot answer."""
        if isinstance(error, FieldError):
            return Refusal(UNPROCESSABLE, str(error), field=error.field, value=error.value, expected=error.wanted)
        return Refusal(UNPROCESSABLE, str(error))

    def body(self) -> dict[str, Any]:
        """The content of the answer."""
        value = None if self.value is None else shortened(self.value)
        message = self.message if len(self.message) <= 600 else f"{self.message[:599]}…"
        return {"error": {"field": self.field, "value": value, "expected": self.expected, "message": message}}


def busy() -> Refusal:
    """Too many requests wait."""
    return Refusal(
        OVERLOADED, "The server has too many requests now. Ask again in a second.", headers={"Retry-After": "1"}
    )
