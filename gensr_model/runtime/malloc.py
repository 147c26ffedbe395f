"""Memory that PyTorch frees on a CPU: tell the C library's allocator to keep it.

PyTorch takes each tensor from ``malloc``. glibc maps large blocks one by one and returns them to the system when they
are freed, so every step pays again for a page fault per 4 KiB of all its tensors. That is half the time of ranking with
a small T5 (docs/results/speed_gensr.md, ``benchmarks/malloc.py``). Kept blocks serve the next step. Results stay the
same, but a process stays about as large as its peak until it gives memory back.
"""

from __future__ import annotations

import ctypes
import functools

# Parameters of mallopt(3), from glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8
_NEVER = 2**31 - 1
PEAK_OF_PROCESS = "peak_memory_mb"  # the metric by which a training's subprocess reports its peak


@functools.cache
def keep_freed_memory() -> bool:
    """Make this process keep freed memory from now on. False where the allocator is not glibc's.

    Call it before threads that compute start: a thread keeps its arena, and only the first arena can hold large blocks.
    """
    library = glibc()
    if library is None:
        return False
    # Nothing is mapped by itself, the top of the heap stays, and all threads share the one heap.
    wanted = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, _NEVER), (_ARENA_MAX, 1))
    answers = [library.mallopt(parameter, value) for parameter, value in wanted]  # 1: done
    return all(answers)


def give_back_freed_memory() -> None:
    """Return all free whole pages to the system. Nothing happens where the allocator is not glibc's."""
    library = glibc()
    if library is not None:
        library.malloc_trim(0)


def glibc() -> ctypes.CDLL | None:
    """The C library of this process, if it is glibc."""
    try:
        library = ctypes.CDLL(None)
    except (OSError, TypeError):  # Windows has no library of the whole process
        return None
    names = ("gnu_get_libc_version", "mallopt", "malloc_trim")
    return library if all(hasattr(library, name) for name in names) else None
