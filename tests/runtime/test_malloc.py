"""Freed memory stays with the process where that was asked for, in a process of its own: it cannot be taken back."""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys

import pytest

from gensr_model.runtime import malloc

# Page faults of taking 100 MB five times more, and resident memory before and after giving back.
_SCRIPT = """
import json, resource, sys
import psutil, torch
from gensr_model.runtime.malloc import give_back_freed_memory, keep_freed_memory
applied = keep_freed_memory() if sys.argv[1] == "keep" else None
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(30):  # until freed blocks fit: glibc before 2.38 needs some rounds with aligned ones
    torch.ones(25_000_000)
begun = faults()
for _ in range(5):
    torch.ones(25_000_000)
again = faults() - begun
resident = [psutil.Process().memory_info().rss]
give_back_freed_memory()
resident.append(psutil.Process().memory_info().rss)
print(json.dumps({"applied": applied, "faults": again, "resident": resident}))
"""


def _run(mode: str) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, mode],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        encoding="utf-8",
    )
    result: dict[str, object] = json.loads(done.stdout)
    return result


@pytest.mark.skipif(malloc.glibc() is None, reason="the C library is not glibc")
def test_what_is_freed_is_there_for_the_next_tensor_and_is_given_back_when_asked() -> None:
    plain, keep = _run("plain"), _run("keep")
    assert keep["applied"] is True
    assert int(str(plain["faults"])) > 10 * int(str(keep["faults"]))
    before, after = keep["resident"]  # type: ignore[misc]
    assert before - after > 90_000_000


def test_another_allocator_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    class Other:
        """A C library without glibc's functions, such as musl's or macOS's."""

    monkeypatch.setattr(ctypes, "CDLL", lambda _: Other())
    assert malloc.keep_freed_memory.__wrapped__() is False
    malloc.give_back_freed_memory()


def test_a_system_without_a_library_of_the_process_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: None) -> ctypes.CDLL:
        raise TypeError("no name")

    monkeypatch.setattr(ctypes, "CDLL", refuse)
    assert malloc.keep_freed_memory.__wrapped__() is False
