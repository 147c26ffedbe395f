"""Follows the alias ``champion``: loads a new version beside the old one, tests it, and swaps."""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Callable

from gensr_model.errors import GensrError
from gensr_model.runtime.malloc import give_back_freed_memory
from gensr_model.serving.http.versions import Versions

_LOG = logging.getLogger("gensr.serve")


class Follower:
    """A thread that asks for the champion every few seconds, and makes it the version that serves.

    A version that cannot be loaded or fails its self-test is refused: the old one goes on. It is tried again when the
    alias has been elsewhere.

    Args:
        champion: gives the version with the alias, None where there is none. It may raise any error.
        every: seconds between two questions.
    """

    def __init__(self, versions: Versions, champion: Callable[[], str | None], every: float = 3.0) -> None:
        self._versions, self._champion, self._every = versions, champion, every
        self._stop = threading.Event()
        self._unreachable = False
        self._thread = threading.Thread(target=self._work, name="gensr-follow", daemon=True)

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def close(self) -> None:
        """End, or leave a question to MLflow or a load that takes long to the end of the process."""
        self._stop.set()
        self._thread.join(5)

    def look(self) -> None:
        """Ask once, and load the champion where it is another version."""
        try:
            wanted = self._champion()
        except Exception as error:  # MLflow may be down for hours: the loaded version goes on
            if not self._unreachable:
                _LOG.warning("the champion cannot be looked up, and the version stays: %s", _first_line(error))
            self._unreachable = True
            return
        if self._unreachable:
            self._unreachable = False
            _LOG.warning("the champion can be looked up again")
        current, refused = self._versions.current, self._versions.refused
        if wanted is None or (refused is not None and refused.version == wanted):
            return
        if current is not None and current.version == wanted:
            if refused is not None:
                self._versions.serve(current)  # the alias moved back
            return
        self._load(wanted)

    def _load(self, wanted: str) -> None:
        current = self._versions.current
        try:
            served = self._versions.source.load(wanted)
        except Exception as error:
            stays = f"version {current.version} goes on" if current else "no version serves"
            message = f"version {wanted} is refused, and {stays}: {_first_line(error)}"
            _LOG.error("%s", message, exc_info=None if isinstance(error, GensrError) else error)
            self._versions.refuse(wanted, _first_line(error))
        else:
            self._versions.serve(served)
            _LOG.warning("version %s serves now", wanted)
        finally:
            gc.collect()
            give_back_freed_memory()

    def _work(self) -> None:
        while not self._stop.wait(self._every):
            self.look()


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
