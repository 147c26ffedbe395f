"""The memory of a block of work, on this very process."""

from __future__ import annotations

import mmap
import time

import pytest

from gensr_model.runtime.malloc import PEAK_OF_PROCESS
from tasks.core.peak_memory import PeakMemory


def test_the_peak_is_seen_though_it_has_passed() -> None:
    with PeakMemory() as idle:
        time.sleep(0.15)
    # From the system itself: the heap may have as much that is freed and resident still.
    with PeakMemory() as busy, mmap.mmap(-1, 300_000_000) as held:
        held.write(b"x" * len(held))
        time.sleep(0.25)
    assert 1_000_000 < idle.process < busy.process
    assert busy.process - idle.process > 200_000_000


def test_a_block_that_fails_is_measured_and_fails() -> None:
    peak = PeakMemory()
    try:
        with peak:
            raise KeyError("no")
    except KeyError:
        pass
    else:
        raise AssertionError("the error was swallowed")
    assert peak.process > 0
    assert not peak._thread.is_alive()


def test_work_in_a_process_of_its_own_has_that_process_s_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with PeakMemory() as peak:
        pass
    assert peak.work_peak({"seconds": 1.0}) == (peak.process, 0)
    assert peak.work_peak({PEAK_OF_PROCESS: 1.5}) == (3 * 2**19, 0)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert peak.work_peak({PEAK_OF_PROCESS: 1.5}) == (0, 3 * 2**19), "of the GPU"
