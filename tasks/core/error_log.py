"""Short messages for expected errors: a block of at most five lines that names the log file with the trace.

Prefect logs an exception with its trace in every task and flow that it passes, and again at the end of the process.
``install`` filters these records. Each flow run shows one block for an expected error. Other errors keep their trace.
"""

from __future__ import annotations

import difflib
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from gensr_model.config.base import members
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.config.secrets import scrubbed
from gensr_model.errors import MESSAGE_LINES, ConfigError, DataError, GensrError, append_trace, shortened
from gensr_model.runtime.streams import use_utf8
from tasks.core.state_dir import direct_to_loopback, state_dir

BLOCK = "expected-error"  # ends the logger's name in the record of a block
_MAX_FILES = 100  # log files of runs
_TASKS = "prefect.task_runs"
_LOGGERS = ("prefect.flow_runs", _TASKS, "prefect.engine")
_SHOWN = "_shown_in"  # attribute of an error: the flow runs that have shown its block


def install() -> None:
    """Filter Prefect's log records in this process. A second call changes nothing."""
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_FILTER)
    logging.getLogger("prefect.flows").addFilter(_SECRETS)


def is_expected(error: BaseException) -> bool:
    """Whether the message is enough: an error that we raise on purpose, or an invalid configuration."""
    if isinstance(error, GensrError):
        return error.expected
    if isinstance(error, ValidationError):
        return error.title == "PipelineConfig"
    prefect = sys.modules.get("prefect.exceptions")  # do not import it here: the import reads Prefect's settings
    return prefect is not None and isinstance(error, prefect.ParameterTypeError)


def error_block(error: BaseException, log: Path) -> str:
    """The message in at most three lines, and the file with the trace."""
    return f"{describe(error)}\nTrace: {log}"


def describe(error: BaseException) -> str:
    """The kind of error and its message, in at most three lines."""
    return shortened(_whole(error), MESSAGE_LINES)


def _whole(error: BaseException) -> str:
    if isinstance(error, ValidationError):
        return f"ConfigError: it does not fit docs/reference/config.md:\n{wrong_fields(error)}"
    return f"{type(error).__name__}: {error.full_message if isinstance(error, GensrError) else error}"


def wrong_fields(error: ValidationError) -> str:
    """One line for each invalid field of a config."""
    wrong: dict[str, list[str]] = {}
    for each in error.errors():
        path, holders = _typed(each["loc"], each["type"])
        wrong.setdefault(".".join(path), []).append(_message(each, holders))
    return "\n".join(
        f"- {path}: {'; or: '.join(messages)}" if path else "; ".join(messages) for path, messages in wrong.items()
    )


def _message(error: ErrorDetails, holders: tuple[Any, ...]) -> str:
    if error["type"] == "extra_forbidden":
        known = dict.fromkeys(name for kind in holders for name in getattr(kind, "model_fields", ()))
        names = difflib.get_close_matches(str(error["loc"][-1]), known, cutoff=0.75)
        return "no such field" + (f"; did you mean {' or '.join(names)}?" if names else "")
    if error["type"] in ("model_type", "model_attributes_type", "dict_type"):
        return "expected an object"
    message = error["msg"].removeprefix("Value error, ")
    return message.replace("valid tuple", "valid list").replace("Tuple should", "The list should")


def _typed(loc: tuple[int | str, ...], kind: str) -> tuple[list[str], tuple[Any, ...]]:
    """A place as a person types it, without the names that pydantic gives to the members of a union; and the types of
    what holds its last part."""
    path: list[str] = []
    kinds: tuple[Any, ...] = (PipelineConfig,)
    for number, part in enumerate(loc, 1):
        within = tuple(each for known in kinds for each in _within(known, part))
        if within or (kind == "extra_forbidden" and number == len(loc)):
            path.append(str(part) if part != "" else '""')
        kinds = within or kinds
    return path, kinds


def _within(kind: Any, part: int | str) -> tuple[Any, ...]:
    """The types that a part of a value may have: a field, what a key leads to, or an item; none where it has none."""
    arguments = get_args(kind)
    if isinstance(part, int):
        return tuple(m for each in arguments for m in members(each)) if get_origin(kind) in (tuple, list) else ()
    if get_origin(kind) is dict:
        return () if part.startswith("dict[") else members(arguments[1])
    field = getattr(kind, "model_fields", {}).get(part)
    return () if field is None else members(field.annotation)


def log_file(name: str) -> Path:
    """The file with the traces of a flow run or a command."""
    return state_dir().logs / "errors" / f"{name}.log"


def write_trace(error: BaseException, name: str) -> Path:
    """Append the error's full message and trace to the log file ``name``. The oldest of many log files are deleted."""
    path = log_file(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    append_trace(error, path)
    files = sorted(path.parent.glob("*.log"), key=lambda file: file.stat().st_mtime)
    for old in files[:-_MAX_FILES]:
        old.unlink(missing_ok=True)
    return path


def run_command(name: str, command: Callable[[], int]) -> int:
    """Run a command and return its exit status. After an expected error it is 1, and stderr has the message."""
    use_utf8()
    os.environ.update(direct_to_loopback(os.environ))
    try:
        return command()
    except Exception as error:
        return end_with_message(error, name)


def end_with_message(error: Exception, name: str) -> int:
    """Print the message of an expected error as the last lines of stderr and return 1. Raise another error again.

    A fault of the data or the config is the whole message and nothing else: no trace helps to mend it.
    """
    if not is_expected(error):
        raise error
    log = write_trace(error, name)
    plain = isinstance(error, DataError | ConfigError | ValidationError)
    print(f"gensr: {_whole(error)}" if plain else f"Trace: {log}\ngensr: {describe(error)}", file=sys.stderr)
    return 1


class _ExpectedErrors(logging.Filter):
    """Turns the first record of an expected error in a flow run into its block, and drops the repeated ones."""

    def filter(self, record: logging.LogRecord) -> bool:
        given = record.args if isinstance(record.args, tuple) else ()
        errors = [record.exc_info[1] if record.exc_info else None, *given]
        error = next((e for e in errors if isinstance(e, BaseException) and is_expected(e)), None)
        if error is None:
            return True
        flow_run = getattr(record, "flow_run_id", None)
        shown: set[str | None] = vars(error).setdefault(_SHOWN, set())
        log = log_file(str(flow_run or "without-flow-run"))
        if not shown or not log.is_file():
            log = write_trace(error, log.stem)
        if record.name == _TASKS or flow_run in shown or (flow_run is None and shown):
            shown.add(None)
            return False  # Prefect's next record, of the state, has the message
        shown.add(flow_run)
        record.msg, record.args = error_block(error, log), ()
        record.exc_info = record.exc_text = None
        record.name = f"{record.name}.{BLOCK}"
        return True


class _Secrets(logging.Filter):
    """Removes secrets from the line in which Prefect repeats invalid parameters."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = scrubbed(record.getMessage()), ()
        return True


_FILTER, _SECRETS = _ExpectedErrors(), _Secrets()
