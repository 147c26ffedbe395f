"""Two sides of a comparison, each in a process of its own, so that neither's memory or caches help the other."""

from __future__ import annotations

import json
import math
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

_TO_GB = 2**30 if sys.platform == "darwin" else 2**20  # ru_maxrss is in bytes there, in KiB on Linux


class Cost(NamedTuple):
    """What one side took: wall time of the work alone, and the peak of the process, imports included."""

    seconds: float
    cpu_seconds: float
    peak_gb: float


def measured(work: Callable[[], Any]) -> Cost:
    """Run ``work`` once in this process; for a child that ``in_child`` started."""
    begun, cpu = time.perf_counter(), time.process_time()
    work()
    return Cost(
        round(time.perf_counter() - begun, 3),
        round(time.process_time() - cpu, 3),
        round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _TO_GB, 3),
    )


def in_child(module: str, *arguments: str | Path) -> Cost:
    """``python -m module arguments`` in a new process, whose last line is a ``Cost`` in JSON."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return Cost(*json.loads(done.stdout.splitlines()[-1]))


def exponent(sizes: list[int], costs: list[float]) -> float | None:
    """The power of n with which a cost grows between the smallest and the largest size."""
    if len(sizes) < 2:
        return None
    return round(math.log(costs[-1] / costs[0]) / math.log(sizes[-1] / sizes[0]), 3)
