"""One local installation: its state folder, ports, servers, worker and environment."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import NamedTuple

import flows
from flows.local.services import Service, ServiceError
from flows.local.stores import Stores
from gensr_model.config.base import digest
from tasks.core.state_dir import StateDir, server_environment, state_dir

ROOT = Path(flows.__file__).resolve().parent.parent  # where prefect.yaml is
PREFECT = [sys.executable, "-m", "prefect", "--no-prompt"]
POOL = "gensr"
LOOPBACK = "127.0.0.1"
PREFECT_PORT, MLFLOW_PORT = "GENSR_PREFECT_PORT", "GENSR_MLFLOW_PORT"
USUAL_PORTS = {PREFECT_PORT: 4200, MLFLOW_PORT: 5000}


class Local(NamedTuple):
    """The installation that the environment describes. Creating one starts nothing."""

    where: StateDir
    prefect_port: int
    mlflow_port: int
    environment: dict[str, str]
    stores: Stores = Stores.of({})

    @property
    def prefect_url(self) -> str:
        return f"http://127.0.0.1:{self.prefect_port}"

    @property
    def mlflow_url(self) -> str:
        return f"http://127.0.0.1:{self.mlflow_port}"

    @property
    def prefect_server(self) -> Service:
        port = str(self.prefect_port)
        command = _module("prefect", "server", "start", "--host", LOOPBACK, "--port", port)
        health = f"{self.prefect_url}/api/health"
        return Service("Prefect server", command, self.prefect_port, health, PREFECT_PORT)

    @property
    def mlflow_server(self) -> Service:
        command = _module("mlflow", "server", "--host", LOOPBACK, "--port", str(self.mlflow_port))
        command += ["--workers", "1"]
        # Clients keep a connection and write every few seconds. The default 5 s would close it before the next request.
        command += ["--uvicorn-opts", "--timeout-keep-alive 300"]
        return Service("MLflow server", command, self.mlflow_port, f"{self.mlflow_url}/health", MLFLOW_PORT)

    @property
    def worker(self) -> Service:
        name = ["--name", self.worker_name]
        return Service("worker", _module("prefect", "worker", "start", "--pool", POOL, "--type", "process", *name))

    @property
    def worker_name(self) -> str:
        """The worker's name in the pool: that of the machine and, where it has several, of the state folder."""
        return f"{socket.gethostname()} {digest(str(self.where.root))[:6]}"

    def of_server(self, server: Service) -> dict[str, str]:
        """What a server has in its environment beside what all share: where it keeps its data, passwords included."""
        of = self.stores.of_prefect if server.name == self.prefect_server.name else self.stores.of_mlflow
        return of(self.where)

    @property
    def services(self) -> list[Service]:
        """The services in the order of ending: the worker before the server that it reports to."""
        return [self.worker, self.prefect_server, self.mlflow_server]


def local() -> Local:
    """The installation that the environment describes. Raises ServiceError for an invalid port."""
    where, prefect_port, mlflow_port = state_dir(), _port(PREFECT_PORT), _port(MLFLOW_PORT)
    if prefect_port == mlflow_port:
        raise ServiceError(f"{PREFECT_PORT} and {MLFLOW_PORT} are both {mlflow_port}. Set them to two different ports.")
    environment = server_environment(where, prefect_port, mlflow_port)
    return Local(where, prefect_port, mlflow_port, environment, Stores.of(os.environ))


def enter() -> Local:
    """The installation, whose environment becomes that of this process. Call it before Prefect is imported."""
    here = local()
    os.environ.clear()
    os.environ.update(here.environment)
    return here


def _port(name: str) -> int:
    given = os.environ.get(name) or str(USUAL_PORTS[name])
    if not given.isdecimal() or not 0 < int(given) < 65536:
        raise ServiceError(f"{name}={given!r} is no port. Set it to a number from 1 to 65535.")
    return int(given)


def _module(name: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", name, *arguments]
