"""A cluster of no process: what would go to a worker is packed and unpacked as Dask does it, and done here."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from distributed.protocol import deserialize, serialize


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
            arrived, what = (deserialize(*serialize(sent)) for sent in (work, piece))
            yield arrived(what)


def use_cluster_here(patch: pytest.MonkeyPatch, module: str) -> ClusterHere:
    """Give every stage of a module this cluster."""
    cluster = ClusterHere()
    patch.setattr(f"{module}.connected", lambda *given: contextlib.nullcontext(cluster))
    return cluster
