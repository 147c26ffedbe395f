"""Computation that repeats to the bit for the same seed, config, machine and number of threads."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch.utils import deterministic as torch_settings

_LOG = logging.getLogger(__name__)


class _Settings(NamedTuple):
    """PyTorch's process-wide settings."""

    algorithms: bool
    warn_only: bool
    fill_memory: bool

    def apply(self) -> None:
        torch.use_deterministic_algorithms(self.algorithms, warn_only=self.warn_only)
        torch_settings.fill_uninitialized_memory = self.fill_memory  # type: ignore[attr-defined]


class _Users:
    """Count of the ``deterministic`` blocks that run now. Threads of a process share the settings."""

    def __init__(self) -> None:
        self.lock, self.count, self.before = threading.Lock(), 0, _Settings(False, False, True)


_USERS = _Users()


@contextmanager
def deterministic() -> Iterator[None]:
    """Make PyTorch compute in a fixed order. Blocks may nest and may run in several threads; also a decorator.

    By default PyTorch adds up some gradients in the order in which its threads finish, so two runs differ in their last
    bits. The end of the last block restores the caller's settings.

    On a CPU an operation without a deterministic kernel raises a RuntimeError. On a GPU, which lacks more of these
    kernels, PyTorch computes and warns by the operation's name.
    """
    with _USERS.lock:
        if not _USERS.count:
            _USERS.before = _current()
            _wanted().apply()
        _USERS.count += 1
    try:
        yield
    finally:
        with _USERS.lock:
            _USERS.count -= 1
            if not _USERS.count:
                _USERS.before.apply()


def _current() -> _Settings:
    return _Settings(
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch_settings.fill_uninitialized_memory,  # type: ignore[attr-defined]
    )


def _wanted() -> _Settings:
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        # cuBLAS reads the variable at its first use. With a workspace per stream, each stream adds up in a fixed order.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        _LOG.info("deterministic GPU kernels where PyTorch has them; it warns by name of an operation without one")
    # PyTorch would fill new memory to reveal reads of unwritten values. That costs a pass over every tensor.
    return _Settings(algorithms=True, warn_only=on_gpu, fill_memory=False)
