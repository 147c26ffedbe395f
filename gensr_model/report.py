"""How long work tells of itself, without the library knowing who listens."""

from __future__ import annotations

from typing import Protocol


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
