"""Errors of a process that trains, as JSON for the process that waits for it."""

from __future__ import annotations

import traceback
from typing import Any

from gensr_model import errors
from gensr_model.errors import GensrError, TrainingError


class SubprocessError(TrainingError):
    """The function failed, or its process ended early. The message says how."""


def described(error: Exception, name: str) -> dict[str, Any]:
    """The error that is handled now, raised by the function ``name``."""
    message = error.full_message if isinstance(error, GensrError) else str(error)
    trace = f"in the process of {name}:\n{traceback.format_exc()}"
    return {
        "kind": type(error).__name__,
        "message": message,
        "expected": isinstance(error, GensrError),
        "trace": trace,
    }


def restored(kind: str, message: str, expected: bool, trace: str) -> GensrError:
    """The error of the other process, with its trace as a note. An error class that is not ours is unexpected."""
    known = getattr(errors, kind, None) if expected else None
    error: GensrError = known(message) if known else SubprocessError(message if expected else f"{kind}: {message}")
    error.expected = expected
    error.add_note(trace)
    return error


def how_it_died(code: int | None) -> str:
    """The end of a process without a result, from its exit code. A negative code is a signal."""
    if code is not None and code < 0:
        hint = "; signal 9 often means that the system ran out of memory" if code == -9 else ""
        return f"its process was killed by signal {-code}{hint}"
    return f"its process ended with code {code} and without a result"
