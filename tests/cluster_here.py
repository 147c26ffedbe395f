"""A cluster of no process: what would go to a worker is pickled and done here."""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest


class ClusterHere:
    """Has the interface of ``tasks.core.cluster.Cluster``, and counts the pieces."""

    places = 3

    def __init__(self) -> None:
        self.pieces = 0

    def require_same_files(self, paths: Iterable[Path]) -> None:
        assert all(path.is_file() for path in paths)

    def map(self, work: Callable[[Any], Any], pieces: Iterable[Any]) -> Iterator[Any]:
        for piece in pieces:
            self.pieces += 1
            done = pickle.loads(pickle.dumps((work, piece)))
            yield done[0](done[1])


def use_cluster_here(patch: pytest.MonkeyPatch, module: str) -> ClusterHere:
    """Give every stage of a module this cluster."""
    cluster = ClusterHere()
    patch.setattr(f"{module}.connected", lambda *given: contextlib.nullcontext(cluster))
    return cluster
