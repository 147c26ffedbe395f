"""Results in order, few pieces in memory, and errors after what was done before them."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from gensr_model.errors import ConfigError
from tasks.core.process_pool import cores, ordered_map


def square(number: int) -> tuple[int, int]:
    if number == 13:
        raise ValueError("thirteen")
    return number * number, os.getpid()


def broken_after(count: int) -> Iterator[int]:
    yield from range(count)
    raise OSError("the file is truncated")


@pytest.mark.parametrize("processes", [1, 2])
def test_results_come_in_order(processes: int) -> None:
    result = list(ordered_map(square, range(9), processes))
    assert [value for value, _ in result] == [n * n for n in range(9)]
    assert (os.getpid() in {pid for _, pid in result}) == (processes == 1)


def test_a_single_piece_is_worked_on_here() -> None:
    assert list(ordered_map(square, [3], 2)) == [(9, os.getpid())]
    assert list(ordered_map(square, [], 2)) == []


@pytest.mark.parametrize("count", [1, 2, 7])
@pytest.mark.parametrize("processes", [1, 2])
def test_what_was_read_before_an_error_comes_first(count: int, processes: int) -> None:
    result = ordered_map(square, broken_after(count), processes)
    assert [next(result)[0] for _ in range(count)] == [n * n for n in range(count)]
    with pytest.raises(OSError, match="truncated"):
        next(result)


def test_an_error_of_the_work_is_raised_in_its_place() -> None:
    result = ordered_map(square, range(10, 20), 2)
    assert [next(result)[0] for _ in range(3)] == [100, 121, 144]
    with pytest.raises(ValueError, match="thirteen"):
        next(result)


def test_few_pieces_are_read_ahead() -> None:
    read = []

    def pieces() -> Iterator[int]:
        for number in range(12):
            read.append(number)
            yield number

    result = ordered_map(square, pieces(), 2)
    next(result)
    assert len(read) <= 5
    list(result)


def test_processes_of_other_code_than_this_one_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.core.process_pool.versions", lambda: {"": "as the code was"})
    with pytest.raises(ConfigError, match="changed after this run had begun"):
        list(ordered_map(square, range(4), 2))


def test_where_the_system_tells_no_affinity_every_core_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on macOS."""
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert cores() == 3
