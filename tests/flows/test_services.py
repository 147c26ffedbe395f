"""Starting, knowing again and ending processes: ours, and never anybody else's."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from flows.local import services
from flows.local.services import TOKEN, Service, ServiceError

HERE = Path(__file__).parent
SLEEPER = [sys.executable, "-c", "import time; time.sleep(600)"]
# Starts a child in a session of its own, as a worker does with a flow run, and tells its id.
PARENT = [sys.executable, "-c",
          "import subprocess, sys, time\n"
          "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True)\n"
          "print(child.pid, flush=True); time.sleep(600)"]  # fmt: skip
STUBBORN = [sys.executable, "-c",
            "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
            "print('deaf', flush=True); time.sleep(600)"]  # fmt: skip


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def web_server(name: str, port: int) -> Service:
    command = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1", "--directory", str(HERE)]
    return Service(name, command, port, f"http://127.0.0.1:{port}/", "GENSR_TEST_PORT")


class Place:
    """A folder of records and logs, as an installation has."""

    def __init__(self, root: Path) -> None:
        self.records, self.logs = root / "services", root / "logs"
        self.records.mkdir()

    def start(self, service: Service) -> bool:
        return services.start(service, self.records, self.logs, dict(os.environ), HERE)

    def process(self, service: Service) -> psutil.Process:
        known = services.read_record(self.records, service.name)
        assert known is not None
        return psutil.Process(known.pid)

    def printed(self, service: Service) -> str:
        return str(until(lambda: service.log(self.logs).read_text(encoding="utf-8").strip()))

    def stop(self, *names: str) -> list[str]:
        said: list[str] = []
        services.stop_all(self.records, list(names), said.append)
        return said


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    place.stop(*(p.stem for p in place.records.glob("*.json")))


@pytest.fixture
def stranger() -> Iterator[Callable[[list[str]], subprocess.Popen[bytes]]]:
    """Starts processes that are not ours."""
    started: list[subprocess.Popen[bytes]] = []

    def start(command: list[str]) -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def until(result: Callable[[], Any], seconds: float = 20.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := result()):
        assert time.monotonic() < deadline, "nothing came"
        time.sleep(0.05)
    return value


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_service_is_started_once_known_again_and_ended(place: Place) -> None:
    server = web_server("web server", free_port())
    assert place.start(server)
    services.wait_healthy(server, place.records, place.logs, timeout=30)
    process = place.process(server)
    assert not place.start(server)
    assert place.process(server).pid == process.pid
    assert not services.port_is_free(server.port or 0)
    assert place.stop("web server", "never started") == ["web server: ended 1 process"]
    assert gone(process.pid)
    assert services.port_is_free(server.port or 0)
    assert not list(place.records.iterdir())


def test_stop_spares_a_stranger_with_the_same_command_line(
    place: Place, stranger: Callable[[list[str]], subprocess.Popen[bytes]]
) -> None:
    decoy, ours = stranger(SLEEPER), Service("worker", SLEEPER)
    place.start(ours)
    pid = place.process(ours).pid
    place.stop("worker")
    assert gone(pid)
    assert decoy.poll() is None


def test_stop_spares_a_stranger_that_got_a_dead_services_process_id(
    place: Place, stranger: Callable[[list[str]], subprocess.Popen[bytes]]
) -> None:
    decoy, ours = stranger(SLEEPER), Service("worker", SLEEPER)
    place.start(ours)
    ended = place.process(ours)
    ended.kill()
    until(lambda: gone(ended.pid))
    record = json.loads(ours.record(place.records).read_text(encoding="utf-8"))
    ours.record(place.records).write_text(
        json.dumps(record | {"pid": decoy.pid, "started": record["started"] - 60}), encoding="utf-8"
    )
    assert not services.is_up(ours, place.records)
    assert place.stop("worker") == ["worker: was not running"]
    assert decoy.poll() is None


def test_a_taken_port_is_named_with_its_variable_and_its_holder_survives(
    place: Place, stranger: Callable[[list[str]], subprocess.Popen[bytes]]
) -> None:
    server = web_server("web server", free_port())
    holder = stranger(server.command)
    until(lambda: not services.port_is_free(server.port or 0))
    with pytest.raises(ServiceError, match=rf"port {server.port} .*GENSR_TEST_PORT=<port>"):
        place.start(server)
    assert place.stop("web server") == []
    assert holder.poll() is None


def test_our_service_on_another_port_is_not_started_twice(place: Place) -> None:
    first, second = web_server("web server", free_port()), web_server("web server", free_port())
    place.start(first)
    with pytest.raises(ServiceError, match=f"already up on port {first.port}, not {second.port}"):
        place.start(second)


def test_a_child_that_outlived_its_killed_service_is_ended_before_the_next_start(place: Place) -> None:
    service = Service("worker", PARENT)
    place.start(service)
    orphan = int(place.printed(service))
    place.process(service).kill()
    until(lambda: not services.is_up(service, place.records))
    assert not gone(orphan)
    assert place.start(service)
    assert gone(orphan)


def test_stop_ends_the_children_too_and_what_does_not_listen(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services.end, "__defaults__", (1.0,))
    parent, deaf = Service("worker", PARENT), Service("deaf", STUBBORN)
    for service in (parent, deaf):
        place.start(service)
    child, pid = int(place.printed(parent)), place.process(deaf).pid
    place.printed(deaf)
    assert place.stop("worker", "deaf") == ["worker: ended 2 processes", "deaf: ended 1 process"]
    assert gone(child)
    assert gone(pid)


def test_a_service_whose_starter_was_killed_at_once_is_found_by_its_token(place: Place) -> None:
    """Killed between starting the process and writing down its id."""
    service = Service("worker", SLEEPER)
    services.write_record(service, place.records, services.Running(0, 0.0, "our-token", None))
    lost = subprocess.Popen(SLEEPER, env=os.environ | {TOKEN: "our-token"})
    end = time.monotonic() + 30
    while TOKEN not in psutil.Process(lost.pid).environ():  # for a moment after exec it is empty
        assert time.monotonic() < end
        time.sleep(0.01)
    try:
        assert place.stop("worker") == ["worker: ended 1 process"]
        assert gone(lost.pid)
    finally:
        lost.kill()


def test_a_service_that_ends_while_starting_shows_the_end_of_its_log(place: Place) -> None:
    broken = [sys.executable, "-c", "raise SystemExit('no such table: flow_run')"]
    server = Service("web server", broken, free_port(), "http://127.0.0.1:9/", "GENSR_TEST_PORT")
    place.start(server)
    with pytest.raises(ServiceError, match=r"web server ended while starting(.|\n)*no such table: flow_run"):
        services.wait_healthy(server, place.records, place.logs, timeout=30)
    assert not services.is_up(server, place.records)


def test_a_service_that_never_answers_is_given_up(place: Place) -> None:
    server = Service("web server", SLEEPER, None, "http://127.0.0.1:9/")
    place.start(server)
    with pytest.raises(ServiceError, match="did not answer within 1 s"):
        services.wait_healthy(server, place.records, place.logs, timeout=1)
