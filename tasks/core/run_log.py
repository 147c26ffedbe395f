"""The log of a run, for what imports no MLflow, which takes seconds."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from prefect.context import FlowRunContext, TaskRunContext
from prefect.logging import get_run_logger

LOGGER = "gensr"
PROGRESS = "gensr-progress"  # the logger of lines for Prefect's page alone: a terminal has a bar
STARTED = "started"  # what a stage that is built logs first


def run_logger(name: str = LOGGER) -> logging.Logger | logging.LoggerAdapter[logging.Logger]:
    """The logger of the Prefect run, with a name by which ``make run`` picks the lines that it shows."""
    if FlowRunContext.get() or TaskRunContext.get():
        return get_run_logger().getChild(name)  # type: ignore[union-attr]
    return logging.getLogger(name)


@contextmanager
def error_context(error: BaseException) -> Iterator[None]:
    """The block reports ``error``. Where the report fails too, a note and the log say so; ``error`` can be raised."""
    try:
        yield
    except Exception as second:
        failed = f"this could not be reported: {type(second).__name__}: {second}"
        error.add_note(f"and {failed}")
        run_logger().warning("%s: %s", type(error).__name__, failed.partition("\n")[0])
