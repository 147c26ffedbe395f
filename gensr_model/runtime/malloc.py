"""How the C library's allocator treats what PyTorch frees on a CPU.

PyTorch takes each tensor from ``malloc``. glibc maps large blocks one by one and returns them to the system when they
are freed, so that every step pays again for a page fault per 4 KiB of all its tensors: half the time of ranking with a
small T5 (docs/results/speed.md, ``benchmarks/malloc.py``). Saved, they are there for the next step. What is computed
stays the same; a process then stays about as large as it once was, until it gives back.
"""

from __future__ import annotations

import ctypes
import functools

# Parameters of mallopt(3), from glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8
_NEVER = 2**31 - 1


@functools.cache
def keep_freed_memory() -> bool:
    """Have this process keep what it frees, from now on; False where the allocator is not glibc's.

    Call it before the threads that compute are started: a thread keeps the arena that it has, and only the first one
    can hold large blocks.
    """
    library = glibc()
    if library is None:
        return False
    # Nothing is mapped by itself, the top of the heap stays, and all threads share the one heap.
    wanted = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, _NEVER), (_ARENA_MAX, 1))
    answers = [library.mallopt(parameter, value) for parameter, value in wanted]  # 1: done
    return all(answers)


def give_back_freed_memory() -> None:
    """Return to the system all whole pages that are free now. Nothing happens where the allocator is not glibc's."""
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
