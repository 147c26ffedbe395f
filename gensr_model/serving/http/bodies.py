"""Reads the body and the parameters of a request, within limits."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import orjson
from starlette.requests import Request

from gensr_model.serving.fields import check_names
from gensr_model.serving.http.errors import TOO_LARGE, Refusal

JSON = "application/json"


async def read_object(request: Request, known: Sequence[str], limit: int, seconds: float) -> dict[str, Any]:
    """The JSON object of a body. Fields that are null are left out.

    Args:
        known: the fields that it may have.
        limit: its size in bytes at most.
        seconds: for its arrival.
    Raises:
        Refusal: the body is too large, too slow, or no JSON object.
        FieldError: a field is not one of ``known``.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != JSON:  # a form of another site cannot send this type
        message = f"Content-Type: expected {JSON}, got {kind[:100]!r}"
        raise Refusal(400, message, field="Content-Type", value=kind, expected=JSON)
    try:
        async with asyncio.timeout(seconds):
            body = await _read(request, limit)
    except TimeoutError:
        raise Refusal(400, f"The body did not arrive within {seconds:g} seconds.") from None
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refusal(400, f"The body is no JSON: {str(error)[:200]}", expected="a JSON object") from None
    if not isinstance(content, dict):
        raise Refusal(400, "The body is no JSON object.", value=content, expected="a JSON object")
    check_names(content, known)
    return {name: value for name, value in content.items() if value is not None}


def read_parameters(request: Request, known: Sequence[str]) -> dict[str, str]:
    """The parameters of an address. Raises FieldError for one that is not in ``known``."""
    check_names(request.query_params, known)
    return dict(request.query_params)


async def _read(request: Request, limit: int) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise Refusal(
                TOO_LARGE, f"The body has more than {limit:,} bytes. Send fewer ids.",
                expected=f"at most {limit} bytes", headers={"Connection": "close"},
            )  # fmt: skip
        parts.append(part)
    return b"".join(parts)
