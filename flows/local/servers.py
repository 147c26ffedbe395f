"""The local servers and their worker: start and deploy, end, and show which are up."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Collection
from typing import NoReturn

from filelock import FileLock

from flows.local import services, stores
from flows.local.installation import LOOPBACK, POOL, PREFECT, ROOT, Local
from flows.local.services import Service, ServiceError
from tasks.core.state_dir import run_folder

PREFECT_SERVER, MLFLOW_SERVER, WORKER = "prefect", "mlflow", "worker"  # as a person names one of them


def up(here: Local) -> None:
    """Start the missing servers and the worker, and apply ``prefect.yaml``. Raises ServiceError."""
    _make_folders(here)
    with FileLock(here.where.services / "lock"):
        _start(here, [here.prefect_server, here.mlflow_server])
        _worker(here)
        _deploy(here, here.environment)
    print_message("deployed the flows of prefect.yaml")


def mlflow_up(here: Local, named: str | None) -> str:
    """The address of MLflow's server, which is started where it is not up. Raises ServiceError.

    Where it is down, ``named`` comes first: the server that the environment named before ``enter``.
    """
    if named and not services.is_up(here.mlflow_server, here.where.services):
        os.environ["MLFLOW_TRACKING_URI"] = named
        return named
    _make_folders(here)
    with FileLock(here.where.services / "lock"):
        _start(here, [here.mlflow_server])
    return here.mlflow_url


def _make_folders(here: Local) -> None:
    where = here.where
    for folder in (where.root / "prefect", where.mlflow_artifacts, where.services, where.logs):
        folder.mkdir(parents=True, exist_ok=True)


def _start(here: Local, servers: list[Service]) -> None:
    """Start those that are not up, and wait until all answer."""
    where = here.where
    given = {server.name: here.of_server(server) for server in servers}
    for server in servers:  # before anything is started
        services.check(server, where.services)
        stores.check_same(server, where, given[server.name], here.stores.given)
    for server in servers:
        if not services.is_up(server, where.services):
            _check_places(here, given[server.name])
    for server in servers:
        if services.start(server, where.services, where.logs, here.environment | given[server.name], ROOT):
            print_message(f"starting the {server.name} on 127.0.0.1:{server.port}")
            _print_places(here, given[server.name])
    for server in servers:
        services.wait_healthy(server, where.services, where.logs)


def _check_places(here: Local, wanted: Collection[str]) -> None:
    """Check what a server that is not up will use, and note it. Raises ServiceError."""
    stores.check_remembered(here.where, wanted, here.stores.given)
    if here.stores.given:
        from flows.local import store_checks  # SQLAlchemy

        store_checks.check(here.stores, wanted)
        stores.remember(here.where, wanted, here.stores.given)


def _print_places(here: Local, given: dict[str, str]) -> None:
    """Where a server keeps its data, once any place is outside the state folder."""
    if here.stores.given:
        for name in (each for each in stores.PLACES if each in given):
            print_message(f"{stores.PLACES[name]}: {stores.shown(given[name])}")


def _deploy(here: Local, environment: dict[str, str]) -> None:
    """Apply ``prefect.yaml``. Prefect's output goes to ``logs/deploy.log``."""
    path = here.where.logs / "deploy.log"
    with path.open("wb") as log:
        done = subprocess.run(
            [*PREFECT, "deploy", "--all"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    if done.returncode:
        raise ServiceError(f"`prefect deploy --all` failed: {services.last_line(path)}\nIts whole output is in {path}")


def _worker(here: Local) -> None:
    """Start the worker unless it is up, after cleaning up behind a killed one."""
    from flows.local import submit  # imports Prefect's settings, so only after they are set

    submit.ensure_pool(POOL)
    if services.is_up(here.worker, here.where.services):
        return
    services.end_leftovers(here.worker, here.where.services)  # a flow run may outlive its worker
    _clean_up(here)
    services.start(here.worker, here.where.services, here.where.logs, here.environment, ROOT)
    print_message("starting the worker")


def _clean_up(here: Local) -> None:
    """Close what a killed worker left open, unless the pool has other workers, whose runs these may be."""
    from flows.local import submit

    if others := submit.other_workers(POOL, here.worker_name):
        print_message(f"the pool {POOL} has other workers ({', '.join(others)}), so no run is marked as crashed")
        return
    if lost := submit.crash_orphans(POOL):
        print_message(f"marked {lost} run(s) of a killed worker as crashed; training resumes from its checkpoint")
    submit.end_tracking_of_ended_runs()


def foreground(here: Local, name: str, host: str, addresses: dict[str, str]) -> NoReturn:
    """Become one of the servers or the worker, as a container or a service manager starts it. Raises ServiceError.

    Args:
        host: the address on which a server listens.
        addresses: PREFECT_API_URL and MLFLOW_TRACKING_URI, where the worker's servers are on other machines.
    """
    _make_folders(here)
    environment = here.environment | addresses
    if name == WORKER:
        os.environ.update(environment)  # before Prefect is imported
        from flows.local import submit

        submit.ensure_pool(POOL)
        _clean_up(here)
        _deploy(here, environment)
        command = here.worker.command
    else:
        server = {PREFECT_SERVER: here.prefect_server, MLFLOW_SERVER: here.mlflow_server}[name]
        environment |= here.of_server(server)
        _check_places(here, environment)
        _print_places(here, environment)
        command = [host if part == LOOPBACK else part for part in server.command]
    os.chdir(ROOT)
    os.execve(command[0], command, environment)


def down(here: Local) -> None:
    """End the processes that ``up`` started here, and nothing else."""
    if not here.where.services.is_dir():
        print_message(f"nothing was started in {here.where.root}")
        return
    with FileLock(here.where.services / "lock"):
        services.stop_all(here.where.services, [service.name for service in here.services], print_message)


def status(here: Local) -> list[str]:
    """Lines about the servers that are up, their data, the current runs, the newest report and the last decision."""
    pages = {here.prefect_server.name: here.prefect_url, here.mlflow_server.name: here.mlflow_url}
    up = {service.name: services.is_up(service, here.where.services) for service in here.services}
    shown = [("state folder", str(here.where.root))]
    shown += [(name, f"up {pages.get(name, '')}".rstrip() if is_up else "down") for name, is_up in up.items()]
    places = stores.remembered(here.where) | here.stores.given
    for server in (here.prefect_server, here.mlflow_server):
        places |= stores.in_use(server, here.where) or {}
    shown += [(label, stores.shown(places.get(name))) for name, label in stores.PLACES.items()]
    if up[here.prefect_server.name]:
        from flows.local import submit

        shown += [("running", line) for line in submit.unfinished_lines(POOL)]
    report = run_folder(here.where.runs / "latest") / "report.html"
    shown.append(("latest report", str(report) if report.is_file() else "none"))
    # As tasks.promote.record writes it, whose import takes seconds.
    if (path := run_folder(here.where.runs / "latest-decision") / "decision.json").is_file():
        decision = json.loads(path.read_text(encoding="utf-8"))
        shown.append(("last decision", "{ended}, {model}: {outcome}. {reason}".format(**decision)))
    return [f"{name:<15}{value}" for name, value in shown]


def print_message(text: str) -> None:
    print(f"gensr: {text}", flush=True)
