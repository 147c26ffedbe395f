"""The local servers and their worker: start and deploy, end, and say what is up."""

from __future__ import annotations

import subprocess

from filelock import FileLock

from flows.local import services
from flows.local.installation import POOL, PREFECT, ROOT, Local
from flows.local.services import ServiceError
from tasks.core.state_dir import run_folder


def up(here: Local) -> None:
    """Start the servers and the worker that are not up, and apply ``prefect.yaml``. Raises ServiceError."""
    where = here.where
    for folder in (where.root / "prefect", where.mlflow_artifacts, where.services, where.logs):
        folder.mkdir(parents=True, exist_ok=True)
    with FileLock(where.services / "lock"):
        servers = [here.prefect_server, here.mlflow_server]
        for server in servers:
            services.check(server, where.services)  # before anything is started
        for server in servers:
            if services.start(server, where.services, where.logs, here.environment, ROOT):
                print_message(f"starting the {server.name} on 127.0.0.1:{server.port}")
        for server in servers:
            services.wait_healthy(server, where.services, where.logs)
        _worker(here)
        _deploy(here)
    print_message("deployed the flows of prefect.yaml")


def _deploy(here: Local) -> None:
    """Apply ``prefect.yaml``; what Prefect prints goes to ``logs/deploy.log``."""
    path = here.where.logs / "deploy.log"
    with path.open("wb") as log:
        done = subprocess.run(
            [*PREFECT, "deploy", "--all"],
            cwd=ROOT,
            env=here.environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    if done.returncode:
        raise ServiceError(f"`prefect deploy --all` failed: {services.last_line(path)}\nAll it said is in {path}")


def _worker(here: Local) -> None:
    """Start the worker unless it is up, after putting in order what a killed one left."""
    from flows.local import submit  # reads Prefect's settings when it is imported, so not before they are known

    submit.ensure_pool(POOL)
    if services.is_up(here.worker, here.where.services):
        return
    services.end_leftovers(here.worker, here.where.services)  # a flow run may outlive its worker: not beside a new one
    if lost := submit.crash_orphans(POOL):
        print_message(f"marked {lost} run(s) as crashed whose worker is gone; training goes on from its checkpoint")
    submit.end_tracking_of_ended_runs()
    services.start(here.worker, here.where.services, here.where.logs, here.environment, ROOT)
    print_message("starting the worker")


def down(here: Local) -> None:
    """End what ``up`` started here, and nothing else."""
    if not here.where.services.is_dir():
        print_message(f"nothing was started in {here.where.root}")
        return
    with FileLock(here.where.services / "lock"):
        services.stop_all(here.where.services, [service.name for service in here.services], print_message)


def status(here: Local) -> list[str]:
    """Lines that say which servers are up, what runs now, and where the newest report is."""
    pages = {here.prefect_server.name: here.prefect_url, here.mlflow_server.name: here.mlflow_url}
    up = {service.name: services.is_up(service, here.where.services) for service in here.services}
    shown = [("state folder", str(here.where.root))]
    shown += [(name, f"up {pages.get(name, '')}".rstrip() if is_up else "down") for name, is_up in up.items()]
    if up[here.prefect_server.name]:
        from flows.local import submit

        shown += [("running", line) for line in submit.unfinished_lines(POOL)]
    report = run_folder(here.where.runs / "latest") / "report.html"
    shown.append(("latest report", str(report) if report.is_file() else "none"))
    return [f"{name:<15}{value}" for name, value in shown]


def print_message(text: str) -> None:
    print(f"gensr: {text}", flush=True)
