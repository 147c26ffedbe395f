"""The model versions of a server: the one that serves, and others that a request asks for by name."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from gensr_model.errors import DataError
from gensr_model.serving.item_fields import ItemFields
from gensr_model.serving.self_test import Example, self_test
from gensr_model.serving.service import Service

_OTHERS = 2  # versions that stay in memory beside the one that serves


class UnknownVersion(DataError):
    """The model has no such version."""


class Served(NamedTuple):
    """A model version that passed its self-test. A request reads all that it needs from one of them."""

    model: str
    version: str
    service: Service
    items: ItemFields
    run_url: str | None = None  # the page of the run that made it

    @staticmethod
    def open(
        model: str, version: str, folder: Path, catalogue: Path | None = None, run_url: str | None = None,
        examples: list[Example] | None = None,
    ) -> Served:  # fmt: skip
        """Load a bundle, with an optional full-ranking bundle, and test it. Raises DataError, SelfTestError."""
        service = Service.load(folder, catalogue)
        items = ItemFields(service)
        self_test(service, items, examples or ())
        return Served(model, version, service, items, run_url)


class Source(Protocol):
    """Where versions come from. Its methods block, and may be called by several threads."""

    model: str

    def load(self, version: str) -> Served:
        """Fetch, load and test a version. Raises UnknownVersion, or any error of loading."""

    def listing(self) -> list[dict[str, Any]]:
        """``version``, ``aliases``, ``created``, ``outcome`` and ``run_url`` of each version, newest first."""


class TooManyLoads(Exception):
    """Other versions are being loaded."""


class Refused(NamedTuple):
    """A version that does not serve, and why."""

    version: str
    reason: str


class Versions:
    """Holds the version that serves. Threads may share it; the swap to another version is one assignment."""

    def __init__(self, source: Source, current: Served | None = None) -> None:
        self.source = source
        self.current = current
        self.refused: Refused | None = None  # the version that should serve and does not
        self.changed: Callable[[], None] = lambda: None  # is called after each change
        self._lock = threading.Lock()
        self._loader = ThreadPoolExecutor(1, "gensr-load")
        self._others: OrderedDict[str, Future[Served]] = OrderedDict()

    def serve(self, served: Served) -> None:
        """Make a version the one that new requests get. Running requests go on with theirs."""
        self.current, self.refused = served, None
        with self._lock:
            self._others.pop(served.version, None)
        self.changed()

    def refuse(self, version: str, reason: str) -> None:
        """Remember why a version does not serve."""
        self.refused = Refused(version, reason)
        self.changed()

    def get(self, version: str) -> Future[Served]:
        """A version by its name, now or when it is loaded. The least recently used of the others is dropped.

        The future raises UnknownVersion, or any error of loading. Versions are loaded one after the other; TooManyLoads
        is raised at once where some wait already.
        """
        current = self.current
        if current is not None and current.version == version:
            ready: Future[Served] = Future()
            ready.set_result(current)
            return ready
        with self._lock:
            known = self._others.get(version)
            if known is not None:
                self._others.move_to_end(version)
                return known
            if sum(not other.done() for other in self._others.values()) >= _OTHERS:
                raise TooManyLoads
            self._others[version] = loading = self._loader.submit(self._load, version)
            return loading

    def _load(self, version: str) -> Served:
        try:
            served = self.source.load(version)
        except BaseException:
            with self._lock:
                self._others.pop(version, None)  # the next request tries again
            raise
        with self._lock:
            finished = [name for name, other in self._others.items() if other.done()]
            for name in finished[: max(0, len(finished) + 1 - _OTHERS)]:
                del self._others[name]
        return served
