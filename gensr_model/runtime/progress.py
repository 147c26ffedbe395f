"""Metrics and progress of long work. The library reports to a listener that it does not know."""

from __future__ import annotations

from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn


class Report(Protocol):
    """A listener for metrics and progress. Tasks pass one that writes to MLflow and Prefect."""

    def metrics(self, values: dict[str, float], step: int) -> None:
        """Named values at a step."""

    def progress(self, done: int, total: int, note: str) -> None:
        """``done`` of ``total`` units of work; ``note`` names the work."""


class NullReport:
    """A listener that ignores everything, for tests and for use as a plain library."""

    def metrics(self, values: dict[str, float], step: int) -> None:
        del values, step

    def progress(self, done: int, total: int, note: str) -> None:
        del done, total, note


class TerminalReport:
    """A progress bar on stderr. It draws nothing where stderr is no terminal, and ignores metrics."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._bar: Progress | None = None

    def metrics(self, values: dict[str, float], step: int) -> None:
        del values, step

    def progress(self, done: int, total: int, note: str) -> None:
        """Draw at most ten times a second. Work that starts over starts the bar over."""
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
        """Remove the bar."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _bar() -> Progress:
    console = Console(stderr=True)
    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), "{task.fields[note]}")
    bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    bar.start()
    return bar
