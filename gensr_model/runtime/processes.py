"""How a process for a training starts."""

from __future__ import annotations

import multiprocessing
import sys
from multiprocessing.context import ForkServerContext, SpawnContext

import torch


def process_context(preload: str) -> ForkServerContext | SpawnContext:
    """The context for new processes. They never fork this process, whose other threads may hold locks.

    On Linux a server forks them. It has imported the module ``preload`` and does nothing else, which saves five seconds
    of a core per process (``benchmarks.isolated_process``) and takes 0.6 GB until this process ends. On macOS, and
    where the server has touched a GPU, a forked process does not work, so there every process imports everything
    itself.
    """
    if torch.cuda.is_available() or sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([preload])
    return context
