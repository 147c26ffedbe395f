"""Metrics and progress of long work: the library reports them without knowing who listens."""

from __future__ import annotations

from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn


class Report(Protocol):
    """A listener for metrics and progress; the tasks pass one that writes to MLflow and Prefect."""

    def metrics(self, values: dict[str, float], step: int) -> None:
        """Named values at a step."""

    def progress(self, done: int, total: int, note: str) -> None:
        """``done`` of ``total`` units of work; ``note`` names the work."""


class NullReport:
    """Listens to nothing; for tests and for use as a plain library."""

    def metrics(self, values: dict[str, float], step: int) -> None:
        del values, step

    def progress(self, done: int, total: int, note: str) -> None:
        del done, total, note


class TerminalReport:
    """A progress bar on stderr; draws nothing where that is no terminal. Metrics are not its business."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._bar: Progress | None = None

    def metrics(self, values: dict[str, float], step: int) -> None:
        del values, step

    def progress(self, done: int, total: int, note: str) -> None:
        """Draws ten times a second; work that starts over starts the bar over."""
        if self._bar is None:
            self._bar = _bar()
            self._bar.add_task(self.name, note=note)
        (task,) = self._bar.tasks
        if done < task.completed or total != task.total:
            self._bar.reset(task.id, total=total)
        self._bar.update(task.id, completed=done, description=self.name, note=note)
        if done >= total:
            self.close()

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _bar() -> Progress:
    console = Console(stderr=True)
    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), "{task.fields[note]}")
    bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    bar.start()
    return bar
