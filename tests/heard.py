"""A report that writes down what it hears."""

from __future__ import annotations


class Heard:
    def __init__(self) -> None:
        self.said: list[tuple[object, ...]] = []

    def metrics(self, values: dict[str, float], step: int) -> None:
        self.said.append((values, step))

    def progress(self, done: int, total: int, note: str) -> None:
        self.said.append((done, total, note))
