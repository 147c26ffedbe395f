"""How a process for a training begins."""

from __future__ import annotations

import multiprocessing
import sys
from multiprocessing.context import ForkServerContext, SpawnContext

import torch


def process_context(preload: str) -> ForkServerContext | SpawnContext:
    """The context of new processes, which are never a fork of this one: that would copy locks of its other threads.

    On Linux the system forks them from a server that has imported the module ``preload`` and does nothing else. This
    saves five seconds of a core each time (``benchmarks.isolated_process``). The server takes 0.6 GB until this process
    ends. A forked process cannot use a GPU that its server has looked at, and libraries of macOS do not bear a fork.
    There every process imports all by itself.
    """
    if torch.cuda.is_available() or sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([preload])
    return context
