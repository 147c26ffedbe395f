"""``make run`` and ``make stop``: local servers, the deployments, one watched run and its table.

    python -m flows.local run [--config JSON]     start what is not up, deploy, run gensr/full-pipeline, show the table
    python -m flows.local up                      only start and deploy
    python -m flows.local stop                    end what run or up started

Ports: GENSR_PREFECT_PORT (4200) and GENSR_MLFLOW_PORT (5000); state: GENSR_HOME (.gensr).
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import flows
from flows import services
from flows.services import Service, ServiceError
from tasks.home import Home, home, server_environment

ROOT = Path(flows.__file__).resolve().parent.parent  # where prefect.yaml is
POOL = "gensr"
ORDER_OF_ENDING = ["worker", "Prefect server", "MLflow server"]


class Local(NamedTuple):
    """One local installation: its folder, its ports and the environment of everything in it."""

    where: Home
    prefect_port: int
    mlflow_port: int
    environment: dict[str, str]

    @property
    def prefect_url(self) -> str:
        return f"http://127.0.0.1:{self.prefect_port}"

    @property
    def mlflow_url(self) -> str:
        return f"http://127.0.0.1:{self.mlflow_port}"

    def prefect_server(self) -> Service:
        command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1"]
        command += ["--port", str(self.prefect_port)]
        health = f"{self.prefect_url}/api/health"
        return Service("Prefect server", command, self.prefect_port, health, "GENSR_PREFECT_PORT")

    def mlflow_server(self) -> Service:
        command = [
            sys.executable,
            "-m",
            "mlflow",
            "server",
            "--host",
            "127.0.0.1",
            "--port",
            str(self.mlflow_port),
        ]
        command += ["--workers", "1", "--backend-store-uri", self.where.mlflow_store]
        command += ["--artifacts-destination", str(self.where.mlflow_artifacts)]
        health = f"{self.mlflow_url}/health"
        return Service("MLflow server", command, self.mlflow_port, health, "GENSR_MLFLOW_PORT")

    def worker(self) -> Service:
        command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", POOL, "--type", "process"]
        return Service("worker", command)


def local() -> Local:
    """The installation that the environment describes."""
    ports = {"GENSR_PREFECT_PORT": 4200, "GENSR_MLFLOW_PORT": 5000}
    for name, usual in ports.items():
        given = os.environ.get(name) or str(usual)
        if not given.isdecimal() or not 0 < int(given) < 65536:
            raise ServiceError(f"{name}={given!r} is not a port: expected a number from 1 to 65535")
        ports[name] = int(given)
    where = home()
    prefect_port, mlflow_port = ports.values()
    return Local(where, prefect_port, mlflow_port, server_environment(where, prefect_port, mlflow_port))


def up(here: Local) -> None:
    """Start the servers and the worker that are not up, and apply ``prefect.yaml``. Raises ServiceError."""
    where = here.where
    for folder in (where.root / "prefect", where.mlflow_artifacts, where.services, where.logs):
        folder.mkdir(parents=True, exist_ok=True)
    with _one_at_a_time(where):
        servers = [here.prefect_server(), here.mlflow_server()]
        for server in servers:
            if services.start(server, where.services, where.logs, here.environment, ROOT):
                say(f"starting the {server.name} on 127.0.0.1:{server.port}")
        for server in servers:
            services.wait_healthy(server, where.services, where.logs)
        from flows import (
            submit,
        )  # reads the Prefect settings when it is imported, so not before they are known

        submit.ensure_pool(POOL)
        worker = here.worker()
        known = services.read_record(where.services, worker.name)
        if not (known and known.alive()):
            if known:
                services.end([known])  # a flow run may outlive its killed worker: not beside a new one
            lost = submit.crash_orphans(POOL)
            if lost:
                say(
                    f"marked {lost} run(s) as crashed whose worker is gone; training goes on from its checkpoint"
                )
            services.start(worker, where.services, where.logs, here.environment, ROOT)
            say("starting the worker")
    deploy = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    done = subprocess.run(
        deploy, cwd=ROOT, env=here.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if done.returncode:
        raise ServiceError(f"`prefect deploy --all` failed:\n{done.stdout}{done.stderr}")
    say("deployed prefect.yaml: gensr/full-pipeline, retrain/nightly")


def run(here: Local, config: dict[str, Any]) -> int:
    """Bring everything up, run the full pipeline and show its table; the exit status."""
    up(here)
    from flows import submit

    name = time.strftime("run-%Y%m%d-%H%M%S")
    say(f"Prefect {here.prefect_url}    MLflow {here.mlflow_url}    logs {here.where.logs}")
    command = [
        sys.executable,
        "-m",
        "prefect",
        "--no-prompt",
        "deployment",
        "run",
        "gensr/full-pipeline",
        "--watch",
    ]
    command += ["--flow-run-name", name]
    if config:
        command += ["--params", json.dumps({"config": config})]
    watched = subprocess.run(command, cwd=ROOT, env=here.environment, stdin=subprocess.DEVNULL)
    outcome = submit.outcome(name)
    if outcome is None:
        say("the run could not be created: see the message above")
        return watched.returncode or 1
    if not outcome.completed:
        print(f"\nThe run {name} ended as {outcome.state}: {outcome.message}", file=sys.stderr)
        print(f"{here.prefect_url}/runs/flow-run/{outcome.id}", file=sys.stderr)
        return 1
    print("\n" + (here.where.runs / outcome.id / "table.md").read_text())
    print(f"Prefect  {here.prefect_url}/runs/flow-run/{outcome.id}")
    print(f"MLflow   {submit.mlflow_link(here.where, outcome.id, here.mlflow_url)}")
    print(f"Summary  {here.where.runs / outcome.id / 'summary.json'}")
    return watched.returncode


def stop(here: Local) -> None:
    """End what ``up`` started here, and nothing else."""
    services.stop_all(here.where.services, ORDER_OF_ENDING, say)


def say(text: str) -> None:
    print(f"gensr: {text}", flush=True)


@contextmanager
def _one_at_a_time(where: Home) -> Iterator[None]:
    with (where.services / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _config(text: str | None) -> dict[str, Any]:
    try:
        config = json.loads(text) if text else {}
        if not isinstance(config, dict):
            raise ValueError("expected an object")
    except ValueError as error:
        raise ServiceError(f"CONFIG is not a JSON object ({error}): {text}") from error
    source = config.get("source")
    if isinstance(source, dict) and source.get("kind") == "folder" and "path" in source:
        source["path"] = str(Path(source["path"]).expanduser().resolve())  # the worker runs elsewhere
    return config


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m flows.local", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument("action", choices=["run", "up", "stop"])
    parser.add_argument(
        "--config", help="the flow's parameter `config` as JSON; without it the deployment's own"
    )
    given = parser.parse_args(arguments)
    try:
        here = local()
        os.environ.clear()
        os.environ.update(here.environment)
        if given.action == "run":
            return run(here, _config(given.config))
        if given.action == "up":
            up(here)
        else:
            stop(here)
    except ServiceError as error:
        print(f"gensr: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
