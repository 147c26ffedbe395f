"""Processes the pieces of a stream in several processes, in order and with few pieces in memory.

The processes are loky's: those of the standard library import the caller's main module again, which may start a run.
"""

from __future__ import annotations

import functools
import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import Generic, TypeVar

from loky import ProcessPoolExecutor

from tasks.core.code_version import must_be, versions
from tasks.core.source_files import only_this_version

Piece = TypeVar("Piece")
Result = TypeVar("Result")
_MOST = 4  # processes; one core reads and unpacks for about this many


def cores() -> int:
    """Cores that this process may use, at most ``_MOST``."""
    ours = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(_MOST, ours)


def ordered_map(
    work: Callable[[Piece], Result], pieces: Iterable[Piece], processes: int | None = None
) -> Iterator[Result]:
    """``work(piece)`` for each piece, in order. At most two pieces per process are in memory.

    A single piece is processed here, because starting processes costs about a second. Errors of ``pieces`` or ``work``
    are raised after the results before them.

    Args:
        work: a module-level function, which processes can import.
        processes: ``cores()`` where None.
    """
    processes = cores() if processes is None else processes
    reading = _UntilError(pieces)
    stream = iter(reading)
    begin = list(itertools.islice(stream, 2))
    every = itertools.chain(begin, stream)
    yield from map(work, every) if len(begin) < 2 or processes < 2 else _in_processes(work, every, processes)
    if reading.error:
        raise reading.error


class _UntilError(Generic[Piece]):
    """The pieces before an error. The error is stored instead of raised."""

    def __init__(self, pieces: Iterable[Piece]) -> None:
        self.pieces = pieces
        self.error: Exception | None = None

    def __iter__(self) -> Iterator[Piece]:
        try:
            yield from self.pieces
        except Exception as error:  # the caller raises it, at its place in the order
            self.error = error


def _in_processes(work: Callable[[Piece], Result], pieces: Iterable[Piece], processes: int) -> Iterator[Result]:
    waiting: deque[Future[Result]] = deque()
    work = functools.partial(_in_this_version, versions(), work)
    only_this_version()
    with ProcessPoolExecutor(processes) as pool:
        for piece in pieces:
            waiting.append(pool.submit(work, piece))
            if len(waiting) >= 2 * processes:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _in_this_version(code: dict[str, str], work: Callable[[Piece], Result], piece: Piece) -> Result:
    must_be(code)
    return work(piece)
