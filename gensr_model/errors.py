"""Errors whose message is meant for the person who runs the pipeline."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

MESSAGE_LINES = 3  # what a terminal and Prefect show of a message


class GensrError(Exception):
    """Base of every error that the project raises on purpose. The message says what is wrong, where, and what to do.

    ``str`` gives at most three lines; ``full_message`` gives all. The trace of an expected error goes to a log file.
    ``expected`` is False for an error that reports a fault in the code: the terminal shows its trace.
    """

    expected = True

    @property
    def full_message(self) -> str:
        """The whole message."""
        return super().__str__()

    def __str__(self) -> str:
        return shortened(self.full_message)


class DataError(GensrError):
    """The input data cannot be used. The message names the file, the line or field, and what was expected.

    ``blanks`` has the fields of the config that a person has to fill in, by path, and what is known of each.
    """

    blanks: Mapping[str, str] = MappingProxyType({})


class FieldError(DataError):
    """A field of a request has a value that cannot be used. The message says the same as the attributes.

    Args:
        value: the value as given, of any size.
        wanted: what the field takes.
    """

    def __init__(self, message: str, *, field: str, value: object, wanted: str) -> None:
        super().__init__(message)
        self.field, self.value, self.wanted = field, value, wanted


class EmptyFileError(DataError):
    """A file holds no row."""


class ConfigError(GensrError):
    """The configuration names something that does not exist or cannot work."""


class TrainingError(GensrError):
    """Training cannot continue, for example after a loss that is not finite. The message names the step and the
    samples.
    """


class DivergedError(TrainingError):
    """A loss or a gradient is not finite because of the hyperparameters, not because of the machine."""


class NaNScoreError(DivergedError, DataError):
    """A model gives NaN as a score: its training diverged, or it reads a damaged file."""


def append_trace(error: BaseException, log: Path) -> None:
    """Append the error's full message and trace to a log file."""
    message = error.full_message if isinstance(error, GensrError) else str(error)
    text = "".join(traceback.format_exception(error))
    with log.open("a", encoding="utf-8") as file:
        file.write(f"{datetime.now(UTC).isoformat(timespec='seconds')} {type(error).__name__}: {message}\n\n{text}\n")


def shortened(text: str, lines: int = MESSAGE_LINES) -> str:
    """The text in at most ``lines`` lines: the first lines and the last one, which says what to do."""
    given = text.splitlines()
    if len(given) <= lines:
        return text
    return "\n".join([*given[: lines - 1], f"(and {len(given) - lines} more) {given[-1]}"])
