"""Takes the next piece of a stream in a thread, while the caller works on the one before."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Piece = TypeVar("Piece")


def read_ahead(pieces: Iterator[Piece]) -> Iterator[Piece]:
    """The pieces, in order. One more is in memory. An error of ``pieces`` is raised after the pieces before it."""
    end = object()
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(next, pieces, end)
        while (piece := following.result()) is not end:
            following = pool.submit(next, pieces, end)
            yield piece  # type: ignore[misc]
