"""The workers of a Dask cluster: checks before any work, and results in the order of the pieces.

Where a piece runs changes no byte of its result, so this module is in no key.
"""

from __future__ import annotations

import contextlib
import shutil
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from gensr_model.errors import ConfigError
from tasks.core import worker_check
from tasks.core.worker_check import WorkerEnvironment

if TYPE_CHECKING:
    from distributed import Client, Future

CONNECT, FIRST_WORKER = 20.0, 60.0  # seconds to wait for the scheduler and for its first worker
WITHOUT_WORKER = 120.0  # seconds for which a cluster may lose its last worker
_LOOK = 5.0  # seconds between two looks at a piece that is not done

Piece = TypeVar("Piece")
Result = TypeVar("Result")


def lacks_dask(field: str, error: ImportError) -> ConfigError:
    """The error for a config that names a scheduler where Dask is not installed."""
    return ConfigError(
        f"{field} needs the extra `dask`, here and on the workers ({error}). Install it: pip "
        "install --constraint constraints.txt --editable '.[dask]'"
    )


@contextlib.contextmanager
def checked_client(address: str, field: str) -> Iterator[Client]:
    """A client of the scheduler, after a check of scheduler and workers. ``field`` names the address in errors.

    Raises ConfigError where Dask is missing, where nobody answers or works at the address, and where a process has
    other code, libraries, state folder or servers.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise lacks_dask(field, error) from error
    try:
        client = Client(address, timeout=CONNECT, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{field}: no Dask scheduler answers at {address!r}: {error}. Start one with `dask "
            "scheduler`, or correct the address."
        ) from error
    with client:
        try:
            client.wait_for_workers(1, timeout=FIRST_WORKER)
        except TimeoutError as error:
            raise ConfigError(
                f"{field}: the scheduler at {address} has had no worker for {FIRST_WORKER:.0f} s. "
                f"Start some with `dask worker {address}`."
            ) from error
        try:
            client.run_on_scheduler(
                worker_check.check, worker_check.here()
            )  # the scheduler unpickles what it passes on
            client.run(worker_check.check, worker_check.here())
        except ConfigError:
            raise
        except Exception as error:  # any error of a worker without our code, or with another Python
            raise ConfigError(
                f"{field}: the scheduler or a worker cannot run gensr: {type(error).__name__}: {error}"
            ) from error
        yield client


class Cluster:
    """The workers behind a client. ``field`` names the address in errors."""

    def __init__(self, client: Client, field: str) -> None:
        self._client, self._field, self._flow = client, field, worker_check.here()

    @property
    def places(self) -> int:
        """Pieces that run at once."""
        return max(1, sum(self._client.nthreads().values()))

    def require_same_files(self, paths: Iterable[Path]) -> None:
        """Raise ConfigError where a worker does not see the files with the sizes that they have here."""
        sizes = {str(path): path.stat().st_size for path in paths}
        for worker, theirs in self._client.run(_sizes, list(sizes)).items():
            if wrong := [path for path, size in sizes.items() if theirs[path] != size]:
                raise ConfigError(
                    f"{self._field}: the worker {worker} does not see {wrong[0]} as it is here. Mount the folder of "
                    "these files at the same path on every machine."
                )

    def map(self, work: Callable[[Piece], Result], pieces: Iterable[Piece]) -> Iterator[Result]:
        """``work(piece)`` for each piece, in order. A few pieces per place are waiting at a time.

        A piece whose worker died is done again, so ``work`` must leave the same files when it runs twice. Raises the
        error of the first piece that failed, and ConfigError where the cluster fails.
        """
        waiting: deque[Future[Result]] = deque()
        ahead = 4 * self.places
        name = getattr(work, "func", work).__name__.strip("_")  # as Dask's dashboard shows it
        try:
            for piece in pieces:
                key = f"{name}-{uuid.uuid4().hex}"
                waiting.append(self._client.submit(_on_worker, self._flow, work, piece, key=key))
                if len(waiting) > ahead:
                    yield self._result(waiting.popleft())
            while waiting:
                yield self._result(waiting.popleft())
        finally:
            self._client.cancel(list(waiting))

    def _result(self, future: Future[Result]) -> Result:
        from distributed import KilledWorker
        from distributed.client import FutureCancelledError

        seen = time.monotonic()  # when there was a worker
        try:
            while not future.done():
                with contextlib.suppress(TimeoutError):
                    return future.result(timeout=_LOOK)
                seen = time.monotonic() if self._client.nthreads() else seen
                if time.monotonic() - seen > WITHOUT_WORKER:
                    raise ConfigError(
                        f"{self._field}: the last worker is gone, and none came for {WITHOUT_WORKER:.0f} s. Start some."
                    )
            return future.result()
        except KilledWorker as error:
            raise ConfigError(
                f"{self._field}: a piece of work took down every worker that it was given to ({error}). Often a "
                "machine has too little memory: start fewer workers on it, or lower prepare.memory_limit."
            ) from error
        except (FutureCancelledError, ConnectionError) as error:
            raise ConfigError(f"{self._field}: the scheduler is gone ({error}). Start it and the run again.") from error


@contextlib.contextmanager
def connected(address: str | None, field: str, folder: Path) -> Iterator[Cluster | None]:
    """The cluster at an address; None without one. All workers see ``folder``, which exists.

    Raises ConfigError as ``checked_client`` does, and where a worker does not see a file that appears in the folder.
    """
    if address is None:
        yield None
        return
    with checked_client(address, field) as client:
        cluster = Cluster(client, field)
        probe = folder / f"probe-{uuid.uuid4().hex}"
        probe.write_text(probe.name, encoding="utf-8")
        try:
            cluster.require_same_files([probe])
        finally:
            probe.unlink()
        yield cluster


@contextlib.contextmanager
def published(folder: Path) -> Iterator[Path]:
    """A new folder of this process, which becomes ``folder`` when the block succeeds.

    Where another worker, which was believed dead, has made ``folder`` meanwhile, its folder stays.
    """
    aside = folder.with_name(f"{folder.name}.tmp-{uuid.uuid4().hex}")
    aside.mkdir(parents=True)
    try:
        yield aside
        if not folder.is_dir():
            aside.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _sizes(paths: list[str]) -> dict[str, int]:
    """Sizes of files on this machine, -1 where there is none."""
    return {path: Path(path).stat().st_size if Path(path).is_file() else -1 for path in paths}


def _on_worker(flow: WorkerEnvironment, work: Callable[[Any], Any], piece: Any) -> Any:
    worker_check.check(flow)  # a worker may have joined late
    return work(piece)
