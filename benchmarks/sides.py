"""Two sides of a comparison, each in a separate process, so that they share neither memory nor caches.

Nothing here imports PyTorch, so the peak of a child is that of its work.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from gensr_model.runtime.streams import use_utf8


class Cost(NamedTuple):
    """The cost of one side: wall time of the work alone, and the peak of the process, with imports."""

    seconds: float
    cpu_seconds: float
    peak_gb: float


def arguments(description: str | None) -> argparse.ArgumentParser:
    """A parser that shows a module's docstring unchanged. The command's output is UTF-8."""
    use_utf8()
    return argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)


def peak_bytes() -> int:
    """The highest resident memory of this process."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # in bytes on a Mac, in KiB on Linux
    return peak if sys.platform == "darwin" else peak * 2**10


def measured(work: Callable[[], Any]) -> Cost:
    """Run ``work`` once in this process; for a child that ``in_child`` started."""
    begun, cpu = time.perf_counter(), time.process_time()
    work()
    seconds, cpu_seconds = time.perf_counter() - begun, time.process_time() - cpu
    return Cost(round(seconds, 3), round(cpu_seconds, 3), round(peak_bytes() / 2**30, 3))


def in_child(module: str, *arguments: object) -> Any:
    """The last line, JSON, of ``python -m benchmarks.<module>`` in a separate process."""
    command = [sys.executable, "-m", f"benchmarks.{module}", *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, encoding="utf-8")
    if done.returncode:
        sys.exit(f"{' '.join(command[2:])} ended with {done.returncode}, see above")
    return json.loads(done.stdout.splitlines()[-1])


def exponent(sizes: list[int], costs: list[float]) -> float | None:
    """The power of n with which a cost grows between the smallest and the largest size."""
    if len(sizes) < 2:
        return None
    return round(math.log(costs[-1] / costs[0]) / math.log(sizes[-1] / sizes[0]), 3)
