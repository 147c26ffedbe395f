"""The local servers and their worker: start and deploy, end, and show which are up."""

from __future__ import annotations

import json
import subprocess

from filelock import FileLock

from flows.local import services
from flows.local.installation import POOL, PREFECT, ROOT, Local
from flows.local.services import ServiceError
from tasks.core.state_dir import run_folder


def up(here: Local) -> None:
    """Start the missing servers and the worker, and apply ``prefect.yaml``. Raises ServiceError."""
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


def mlflow_up(here: Local) -> None:
    """Start MLflow's server where it is not up. Raises ServiceError."""
    where, server = here.where, here.mlflow_server
    for folder in (where.mlflow_artifacts, where.services, where.logs):
        folder.mkdir(parents=True, exist_ok=True)
    with FileLock(where.services / "lock"):
        services.check(server, where.services)
        if services.start(server, where.services, where.logs, here.environment, ROOT):
            print_message(f"starting the {server.name} on 127.0.0.1:{server.port}")
        services.wait_healthy(server, where.services, where.logs)


def _deploy(here: Local) -> None:
    """Apply ``prefect.yaml``. Prefect's output goes to ``logs/deploy.log``."""
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
        raise ServiceError(f"`prefect deploy --all` failed: {services.last_line(path)}\nIts whole output is in {path}")


def _worker(here: Local) -> None:
    """Start the worker unless it is up, after cleaning up behind a killed one."""
    from flows.local import submit  # imports Prefect's settings, so only after they are set

    submit.ensure_pool(POOL)
    if services.is_up(here.worker, here.where.services):
        return
    services.end_leftovers(here.worker, here.where.services)  # a flow run may outlive its worker
    if lost := submit.crash_orphans(POOL):
        print_message(f"marked {lost} run(s) of a killed worker as crashed; training resumes from its checkpoint")
    submit.end_tracking_of_ended_runs()
    services.start(here.worker, here.where.services, here.where.logs, here.environment, ROOT)
    print_message("starting the worker")


def down(here: Local) -> None:
    """End the processes that ``up`` started here, and nothing else."""
    if not here.where.services.is_dir():
        print_message(f"nothing was started in {here.where.root}")
        return
    with FileLock(here.where.services / "lock"):
        services.stop_all(here.where.services, [service.name for service in here.services], print_message)


def status(here: Local) -> list[str]:
    """Lines about the servers that are up, the current runs, the newest report, and who became champion last."""
    pages = {here.prefect_server.name: here.prefect_url, here.mlflow_server.name: here.mlflow_url}
    up = {service.name: services.is_up(service, here.where.services) for service in here.services}
    shown = [("state folder", str(here.where.root))]
    shown += [(name, f"up {pages.get(name, '')}".rstrip() if is_up else "down") for name, is_up in up.items()]
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
