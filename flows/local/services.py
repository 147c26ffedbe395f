"""Start and end the local servers, and recognise our own processes.

A record per service (``services/<name>.json``) holds its process id with the process's start time, because ids are
reused, and a token that every child inherits through its environment. The token finds a flow run that outlived its
killed worker, which no process tree shows any more.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import psutil

from gensr_model.errors import GensrError

TOKEN = "GENSR_SERVICE_TOKEN"


class ServiceError(GensrError):
    """A server cannot be started. The message names the server, the cause, and what to do."""


class Service(NamedTuple):
    """A long-running process. ``port`` and ``health`` are None for one that does not listen."""

    name: str
    command: list[str]
    port: int | None = None
    health: str | None = None
    port_variable: str = ""

    def record(self, folder: Path) -> Path:
        return record_file(folder, self.name)

    def log(self, folder: Path) -> Path:
        return record_file(folder, self.name).with_suffix(".log")


class Running(NamedTuple):
    """The record of a started service. ``pid`` 0 means that the starting process died early."""

    pid: int
    started: float
    token: str
    port: int | None

    def alive(self) -> bool:
        if not self.pid:
            return False
        try:
            process = psutil.Process(self.pid)
            return abs(process.create_time() - self.started) < 1.0 and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False


def record_file(folder: Path, name: str) -> Path:
    return folder / f"{name.lower().replace(' ', '-')}.json"


def read_record(folder: Path, name: str) -> Running | None:
    try:
        return Running(**json.loads(record_file(folder, name).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None


def is_up(service: Service, folder: Path) -> bool:
    """Whether this service's process is alive."""
    known = read_record(folder, service.name)
    return known is not None and known.alive()


def end_leftovers(service: Service, folder: Path) -> None:
    """End the children of a killed service, which carry its token."""
    known = read_record(folder, service.name)
    if known:
        end([known])


def port_is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def check(service: Service, folder: Path) -> None:
    """Raise ServiceError when another program, or our own service under another port, uses the port."""
    known = read_record(folder, service.name)
    if known and known.alive():
        if known.port != service.port:
            raise ServiceError(
                f"the {service.name} of this folder is already up on port {known.port}, not "
                f"{service.port}. Run `gensr down` first, or set {service.port_variable}={known.port}."
            )
        return
    end_leftovers(service, folder)
    if service.port is not None and not port_is_free(service.port):
        raise ServiceError(
            f"port {service.port} on 127.0.0.1, meant for the {service.name}, is taken by another "
            f"program. End that program, or choose a free port with {service.port_variable}=<port>."
        )


def start(service: Service, folder: Path, logs: Path, environment: dict[str, str], cwd: Path) -> bool:
    """Start the service unless it is up already. True when a new process was started. Raises as ``check`` does."""
    check(service, folder)
    if is_up(service, folder):
        return False
    folder.mkdir(parents=True, exist_ok=True)
    logs.mkdir(parents=True, exist_ok=True)
    token = uuid.uuid4().hex
    write_record(
        service, folder, Running(0, 0.0, token, service.port)
    )  # if this process is killed here, the token finds the service
    with service.log(logs).open("ab") as log:
        process = subprocess.Popen(
            service.command,
            cwd=cwd,
            env=environment | {TOKEN: token},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C in `make run` leaves the servers up
        )
    started = psutil.Process(process.pid).create_time()
    write_record(service, folder, Running(process.pid, started, token, service.port))
    return True


def write_record(service: Service, folder: Path, record: Running) -> None:
    aside = service.record(folder).with_suffix(".tmp")
    aside.write_text(json.dumps(record._asdict()), encoding="utf-8")
    aside.replace(service.record(folder))


def wait_healthy(service: Service, folder: Path, logs: Path, timeout: float = 240.0) -> None:
    """Wait until the service answers. Raises ServiceError with the log's last line when it ends or takes too long."""
    deadline = time.monotonic() + timeout
    while service.health:
        try:
            with urllib.request.urlopen(service.health, timeout=5) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            pass
        gone = not is_up(service, folder)
        if gone or time.monotonic() > deadline:
            log = service.log(logs)
            what = "ended while starting" if gone else f"did not answer within {timeout:.0f} s"
            raise ServiceError(f"the {service.name} {what}: {last_line(log)}\nIts log is {log}")
        time.sleep(0.3)


def last_line(log: Path) -> str:
    """The last line of a log that is not blank, which usually has the cause."""
    lines = [line.strip() for line in log.read_text(errors="replace", encoding="utf-8").splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"


def stop_all(folder: Path, names: list[str], show: Callable[[str], None]) -> None:
    """End the services started here, in the given order: the worker before the server that it reports to."""
    for name in names:
        known = read_record(folder, name)
        if known is None:
            continue
        ended = end([known])
        record_file(folder, name).unlink(missing_ok=True)
        plural = "" if ended == 1 else "es"
        show(f"{name}: ended {ended} process{plural}" if ended else f"{name}: was not running")


def end(records: list[Running], patience: float = 10.0) -> int:
    """End the processes of these records with all their children. Returns the number of ended processes."""
    mine = _processes(records)
    for process in mine:
        _signal(process.terminate)
    _, left = psutil.wait_procs(mine, timeout=patience)
    for process in left + _processes(records):
        _signal(process.kill)
    psutil.wait_procs(left, timeout=patience)
    return len(mine)


def _processes(records: list[Running]) -> list[psutil.Process]:
    """Processes with our token, and the recorded processes with their descendants."""
    tokens = {r.token for r in records}
    processes: dict[int, psutil.Process] = {}
    for record in records:
        if record.alive():
            _add_tree(processes, psutil.Process(record.pid))
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(TOKEN) in tokens:
                _add_tree(processes, process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess, OSError):
            continue  # another user's, or already gone
    return list(processes.values())


def _add_tree(processes: dict[int, psutil.Process], process: psutil.Process) -> None:
    try:
        for each in [process, *process.children(recursive=True)]:
            processes.setdefault(each.pid, each)
    except psutil.NoSuchProcess:
        return


def _signal(send: Callable[[], None]) -> None:
    try:
        send()
    except psutil.NoSuchProcess:
        return
