"""A log of the lists that a service showed, and of what people did with them, as UBI.

The documents follow User Behavior Insights (https://docs.opensearch.org/docs/latest/search-plugins/ubi/schemas/), so
``format: logs`` with ``layout: gensr-serve`` reads the folder, and other tools for UBI do too.

- A shown list is a document of ``ubi_queries``: ``query_response_hit_ids`` has its items, best first. UBI requires
  ``user_query`` in each. A list of recommendations has the empty text there, because nobody typed anything.
- An action is a document of ``ubi_events``. Its ``query_id`` names the list that showed the item. ``format: logs``
  reads an action on a list without a text as a recommendation (``logs.queries.without_text``), any other as a search.

Files are JSON lines by UTC day: ``queries-2026-11-30.jsonl``, ``events-2026-11-30.jsonl``. Above ``max_bytes`` a day
goes on in ``…-002.jsonl``, and so it does where another process writes to the first file.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import json
import os
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gensr_model.errors import DataError

QUERIES, EVENTS = "queries", "events"
#: The actions that ``format: logs`` knows. An unknown one would stop the next training.
ACTIONS = ("click", "add_to_cart", "purchase", "view", "watch", "impression")
_APPLICATION = "gensr"
_SECOND = 1.0
_BLOCK = 65_536


class EventLog:
    """Appends documents to the files of ``folder``. Threads may share a log, and several processes may share a folder.

    Every line is handed to the operating system at once, so a killed process loses none of them. A thread calls fsync
    once a second, so a crash of the machine loses at most the last second.

    An error of the disk is never raised. ``problem`` says what is wrong until a line can be written again.

    Attributes:
        written: number of documents that were written.
        lost: number of documents that were not.
        problem: why the latest document was not written. None where it was.
    """

    def __init__(
        self, folder: Path | str, *, max_bytes: int = 64 * 2**20, clock: Callable[[], float] = time.time
    ) -> None:
        self.folder = Path(folder)
        self.written, self.lost = 0, 0
        self.problem: str | None = None
        self._clock, self._lock, self._stop = clock, threading.Lock(), threading.Event()
        self._files = {kind: _File(self.folder, kind, max_bytes) for kind in (QUERIES, EVENTS)}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for kind in self._files:
                for path in sorted(self.folder.glob(f"{kind}-[0-9]*.jsonl")):
                    _mend_last_line(path)
        except OSError as error:
            self._note(error)
        self._thread = threading.Thread(target=self._sync_each_second, name="event-log", daemon=True)
        self._thread.start()

    def shown(
        self,
        user: str | None,
        query: str | None,
        items: Sequence[str],
        version: str,
        *,
        session: str | None = None,
        attributes: dict[str, Any] | None = None,
    ) -> str:
        """Log a shown list, best item first. Returns its new ``query_id``, which actions on the list have to name.

        Args:
            query: the text of the search. None or blank for recommendations.
            version: the model version that ranked the list.
            attributes: further values for ``query_attributes``, ready for JSON.
        """
        query_id = str(uuid.uuid4())
        document = {
            "user_query": (query or "").strip(),
            "query_response_hit_ids": list(items),
            "query_attributes": {"version": version, **(attributes or {})},
        }
        self._append(QUERIES, self._who(query_id, user, session) | document)
        return query_id

    def event(
        self,
        action: str,
        query_id: str | None,
        item: str,
        user: str | None,
        position: int | None = None,
        *,
        session: str | None = None,
    ) -> None:
        """Log an action on an item. ``query_id`` is that of ``shown``; None where no list led to the action.

        Raises DataError for an action that is not in ``ACTIONS``, for an empty item, and where nobody acts: user,
        session and query_id are all missing.
        """
        if action not in ACTIONS:
            raise DataError(f"action is {action!r}. Choose one of {', '.join(ACTIONS)}.")
        if not item.strip():
            raise DataError("item is empty. Give the id of the item that the action is about.")
        if not (user or session or query_id):
            raise DataError(
                "user, session and query_id are missing. Give one of them, so that the action has an owner."
            )
        attributes: dict[str, Any] = {"object": {"object_id": item, "object_id_field": "item_id"}}
        if position is not None:
            attributes["position"] = {"ordinal": position}
        self._append(
            EVENTS, self._who(query_id, user, session) | {"action_name": action, "event_attributes": attributes}
        )

    def close(self) -> None:
        """Write everything to the disk and close the files. Later documents are lost and counted."""
        self._stop.set()
        self._thread.join()
        with self._lock:
            for file in self._files.values():
                try:
                    file.close()
                except OSError as error:
                    self._note(error)

    def _who(self, query_id: str | None, user: str | None, session: str | None) -> dict[str, Any]:
        """The fields of both kinds. An unknown user is the session, else a visitor of this one list."""
        who = {"application": _APPLICATION, "query_id": query_id, "client_id": user or session or query_id}
        return who | {name: value for name, value in (("user_id", user), ("session_id", session)) if value}

    def _append(self, kind: str, document: dict[str, Any]) -> None:
        now = datetime.fromtimestamp(self._clock(), UTC)
        document["timestamp"] = now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace") + b"\n"
        with self._lock:
            try:
                if self._stop.is_set():
                    raise OSError(errno.EBADF, "the log is closed")
                self._files[kind].append(line, now.date().isoformat())
            except OSError as error:
                self.lost += 1
                self._note(error)
            else:
                self.written += 1
                self.problem = None

    def _sync_each_second(self) -> None:
        """Call fsync on copies of the descriptors, so that nobody waits for the disk to append a line."""
        while not self._stop.wait(_SECOND):
            with self._lock:
                copies = [os.dup(fd) for file in self._files.values() if (fd := file.take_unsynced()) is not None]
            for copy in copies:
                try:
                    os.fsync(copy)
                except OSError as error:
                    self._note(error)
                finally:
                    os.close(copy)

    def _note(self, error: OSError) -> None:
        self.problem = (
            f"{self.folder}: shown lists and clicks are not written: {error.strerror or error}. Answers go on. Make "
            "room on the disk, or make the folder writable."
        )


class _File:
    """The open file of one kind of documents. A lock on it keeps other processes away."""

    def __init__(self, folder: Path, kind: str, max_bytes: int) -> None:
        self._folder, self._kind, self._max_bytes = folder, kind, max_bytes
        self._fd: int | None = None
        self._day, self._size, self._unsynced = "", 0, False

    def append(self, line: bytes, day: str) -> None:
        """Append one line whole, or raise OSError and leave no part of it. An earlier day than before is that one."""
        day = max(day, self._day)
        if self._fd is None or day != self._day or not self._has_room(self._size, line):
            self.close()
            self._open(day, line)
        assert self._fd is not None
        try:
            done = os.write(self._fd, line)
            if done < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            with contextlib.suppress(OSError):  # the next opening cuts off what this one cannot
                os.ftruncate(self._fd, self._size)
            raise
        self._size += done
        self._unsynced = True

    def take_unsynced(self) -> int | None:
        """The descriptor, where lines were written since the last call."""
        unsynced, self._unsynced = self._unsynced, False
        return self._fd if unsynced else None

    def close(self) -> None:
        """Write what was written to the disk, and close the file."""
        if self._fd is None:
            return
        fd, self._fd = self._fd, None
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def _has_room(self, size: int, line: bytes) -> bool:
        return not size or size + len(line) <= self._max_bytes

    def _open(self, day: str, line: bytes) -> None:
        """Open the first file of the day that has room and that nobody else writes to."""
        for number in itertools.count(1):
            part = "" if number == 1 else f"-{number:03d}"
            path = self._folder / f"{self._kind}-{day}{part}.jsonl"
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                size = _whole_lines(fd)
            except BlockingIOError:
                os.close(fd)
                continue
            except OSError:
                os.close(fd)
                raise
            if self._has_room(size, line):
                self._fd, self._day, self._size = fd, day, size
                return
            os.close(fd)


def _mend_last_line(path: Path) -> None:
    """Mend what a crash left, unless another process writes to the file."""
    fd = os.open(path, os.O_RDWR | os.O_APPEND)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _whole_lines(fd)
    except BlockingIOError:
        pass
    finally:
        os.close(fd)


def _whole_lines(fd: int) -> int:
    """Cut off a last line that is half written, or end one that only lacks its end. Returns the size of the file."""
    size = start = os.fstat(fd).st_size
    last = b""
    while start and b"\n" not in last:
        start = max(0, start - _BLOCK)
        last = os.pread(fd, size - start, start)
    last = last[last.rfind(b"\n") + 1 :]
    if not last:
        return size
    try:
        json.loads(last)
    except ValueError:
        os.ftruncate(fd, size - len(last))
        return size - len(last)
    return size + os.write(fd, b"\n")
