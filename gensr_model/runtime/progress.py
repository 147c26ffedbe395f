"""How long work tells of itself, without the library knowing who listens."""

from __future__ import annotations

from typing import Any, Protocol

from tqdm import tqdm


class Report(Protocol):
    """A listener for metrics and progress; the tasks pass one that writes to MLflow and Prefect."""

    def metrics(self, values: dict[str, float], step: int) -> None:
        """Named values at a step."""

    def progress(self, done: int, total: int, note: str) -> None:
        """``done`` of ``total`` units of work; ``note`` says of what."""


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
        self._bar: tqdm[Any] | None = None

    def metrics(self, values: dict[str, float], step: int) -> None:
        del values, step

    def progress(self, done: int, total: int, note: str) -> None:
        """Draws at most ten times a second; work that starts over starts the bar over."""
        if self._bar is None:
            self._bar = tqdm(total=total, desc=self.name, leave=False, dynamic_ncols=True, disable=None)
        elif done < self._bar.n or total != self._bar.total:
            self._bar.reset(total)
        self._bar.set_postfix_str(note, refresh=False)
        self._bar.update(done - self._bar.n)
        if done >= total:
            self.close()

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
