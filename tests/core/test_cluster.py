"""A cluster is looked at before any work, results come in order, and its failures are one sentence each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from distributed import KilledWorker

from gensr_model.errors import ConfigError, DataError
from tasks.core import cluster, worker_check
from tasks.core.cluster import Cluster, connected, published


class Done:
    """A future of Dask's whose work is done, never done, or failed."""

    def __init__(self, result: Any, never: bool = False) -> None:
        self._result, self._never = result, never
        self.cancelled = False

    def done(self) -> bool:
        return not self._never

    def result(self, timeout: float | None = None) -> Any:
        if self._never:
            raise TimeoutError
        if isinstance(self._result, Exception):
            raise self._result
        return self._result


class Client:
    """Does what is submitted, at once. ``blind`` names workers that see no file."""

    def __init__(self, workers: int = 2, blind: tuple[str, ...] = (), never: bool = False) -> None:
        self.workers, self.blind, self.never = workers, blind, never
        self.made: list[Done] = []

    def nthreads(self) -> dict[str, int]:
        return {f"tcp://{n}": 1 for n in range(self.workers)}

    def run(self, function: Callable[..., Any], *given: Any) -> dict[str, Any]:
        sizes = function(*given)
        return {name: dict.fromkeys(sizes, -1) if name in self.blind else sizes for name in self.nthreads()}

    def submit(self, function: Callable[..., Any], *given: Any, key: str) -> Done:
        assert key.startswith(("half", "lambda"))
        try:
            result = function(*given)
        except Exception as error:
            result = error
        self.made.append(Done(result, self.never))
        return self.made[-1]

    def cancel(self, futures: list[Done]) -> None:
        for future in futures:
            future.cancelled = True


def half(number: int) -> int:
    if number % 2:
        raise DataError(f"{number} is odd")
    return number // 2


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GENSR_HOME", str(tmp_path / "home"))


def test_no_address_is_no_cluster_and_a_wrong_one_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with connected(None, "prepare.dask", tmp_path) as made:
        assert made is None
    monkeypatch.setattr(cluster, "CONNECT", 0.2)
    with (
        pytest.raises(ConfigError, match=r"prepare\.dask: no Dask scheduler answers at 'tcp://127\.0\.0\.1:1'"),
        connected("tcp://127.0.0.1:1", "prepare.dask", tmp_path),
    ):
        pass


def test_results_come_in_order_and_few_pieces_wait() -> None:
    client = Client()
    results = Cluster(client, "prepare.dask").map(half, range(0, 100, 2))
    assert next(results) == 0
    assert len(client.made) == 9
    assert list(results) == list(range(1, 50))


def test_an_error_comes_in_its_place_and_ends_the_rest() -> None:
    client = Client()
    results = Cluster(client, "prepare.dask").map(half, [2, 4, 5, 6])
    assert [next(results), next(results)] == [1, 2]
    with pytest.raises(DataError, match="5 is odd"):
        next(results)
    assert client.made[-1].cancelled


def test_a_worker_that_does_not_see_the_files_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    Cluster(Client(), "prepare.dask").require_same_files([tmp_path / "file"])
    with pytest.raises(ConfigError, match=r"prepare\.dask: the worker tcp://1 does not see .*/file as it is here"):
        Cluster(Client(blind=("tcp://1",)), "prepare.dask").require_same_files([tmp_path / "file"])


def test_lost_workers_and_deadly_pieces_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "WITHOUT_WORKER", -1.0)
    with pytest.raises(ConfigError, match="the last worker is gone"):
        list(Cluster(Client(workers=0, never=True), "prepare.dask").map(half, [2]))

    def deadly(number: int) -> int:
        raise KilledWorker("piece", SimpleNamespace(address="tcp://1"), 3)

    deadly.__name__ = "half"
    with pytest.raises(ConfigError, match="too little memory"):
        list(Cluster(Client(), "prepare.dask").map(deadly, [2]))


def test_a_worker_with_other_libraries_is_refused() -> None:
    ours = worker_check.here()
    worker_check.check(ours)
    assert "duckdb" in ours.libraries
    with pytest.raises(ConfigError, match=r"the set of versions is Python .*, the flow's is Python 2\."):
        worker_check.check(ours._replace(libraries="Python 2"))


def test_a_folder_is_published_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "a"

    def write(text: str, error: Exception | None = None) -> None:
        with published(folder) as aside:
            (aside / "file").write_text(text, encoding="utf-8")
            if error:
                raise error

    with pytest.raises(DataError):
        write("half", DataError("no"))
    assert list(folder.parent.iterdir()) == []
    write("first")
    write("second")
    assert (folder / "file").read_text(encoding="utf-8") == "first"
    assert list(folder.parent.iterdir()) == [folder]
