"""``make run`` and ``make stop``: local servers, the deployments, one watched run and its table.

    python -m flows.local run [--config JSON]     start what is not up, deploy, run gensr/full-pipeline, show the table
    python -m flows.local up                      only start and deploy
    python -m flows.local stop                    end what run or up started

Ports: GENSR_PREFECT_PORT (4200) and GENSR_MLFLOW_PORT (5000); state: GENSR_HOME (.gensr).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock
from pydantic import ValidationError
from rich.console import Console

import flows
from flows.local import services
from flows.local.installation import POOL, Local, local
from flows.local.services import ServiceError
from gensr_model.config.base import overlay
from gensr_model.config.data import FolderSource
from gensr_model.config.known_formats import FORMATS, lacks_order
from gensr_model.config.pipeline import PipelineConfig, merge_overrides
from gensr_model.errors import ConfigError, shortened
from gensr_model.runtime.progress import TerminalReport
from tasks.core.error_log import log_file, run_command, wrong_fields

if TYPE_CHECKING:
    from flows.local import submit

ROOT = Path(flows.__file__).resolve().parent.parent  # where prefect.yaml is
PREFECT = [sys.executable, "-m", "prefect", "--no-prompt"]


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
    print_message(
        "deployed prefect.yaml: gensr/full-pipeline, train/full-ranking, compare/rerank-table, "
        "compare/full-ranking-table, analyze/mechanisms, ablation/paper, sweep/tau-beta, retrain/nightly"
    )


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
    from flows.local import (
        submit,  # reads Prefect's settings when it is imported, so not before they are known
    )

    submit.ensure_pool(POOL)
    if services.is_up(here.worker, here.where.services):
        return
    services.end_leftovers(here.worker, here.where.services)  # a flow run may outlive its worker: not beside a new one
    if lost := submit.crash_orphans(POOL):
        print_message(f"marked {lost} run(s) as crashed whose worker is gone; training goes on from its checkpoint")
    submit.end_tracking_of_ended_runs()
    services.start(here.worker, here.where.services, here.where.logs, here.environment, ROOT)
    print_message("starting the worker")


def run(here: Local, config: dict[str, Any]) -> int:
    """Bring everything up, run the full pipeline and show its table; the exit status."""
    up(here)
    from flows.local import submit
    from tasks.core.tracking import run_page

    name = f"{time.strftime('run-%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:4]}"
    print_message(f"Prefect {here.prefect_url}    MLflow {here.mlflow_url}    logs {here.where.logs}")
    command = [*PREFECT, "deployment", "run", "gensr/full-pipeline", "--watch", "--flow-run-name", name]
    if config:
        command += ["--params", json.dumps({"config": config})]
    messages = submit.Messages(name)
    shown = Shown(messages)
    status = _watch(here, command, shown)
    shown.close()
    print_lines(messages.new())
    outcome = submit.outcome(name)
    if outcome is None:
        log = here.where.logs / "watch.log"
        raise ServiceError(
            f"the run could not be created: {services.last_line(log)}\nAll that Prefect said is in {log}"
        )
    page = f"{here.prefect_url}/runs/flow-run/{outcome.id}"
    if not outcome.completed:
        submit.end_tracking_of_ended_runs()
        trace = log_file(outcome.id)
        log = trace if trace.is_file() else here.worker.log(here.where.logs)
        print(f"gensr: the run {name} ended as {outcome.state}, {page}", file=sys.stderr)
        print(f"{shortened(outcome.message)}\nTrace: {log}", file=sys.stderr)
        return 1
    folder = here.where.runs / outcome.id
    print_tables(folder)
    print(f"Prefect  {page}")
    tracked = json.loads((folder / "summary.json").read_text())["mlflow"]
    print(f"MLflow   {run_page(here.mlflow_url, tracked)}")
    print(f"Summary  {folder / 'summary.json'}")
    print(f"Report   {folder / 'report.html'}")
    return status


def print_tables(run: Path) -> None:
    """All tables of a finished run: drawn in a terminal, as Markdown where the output goes elsewhere."""
    from gensr_model.reporting import renderers, run_sections  # NumPy and Matplotlib: not for `make stop`

    if sys.stdout.isatty():
        summary = json.loads((run / "summary.json").read_text())
        renderers.show(*run_sections.summary_sections(summary), Console())
    else:
        print("\n" + (run / "table.md").read_text())


class Shown:
    """What people see of a run: the stages' lines and, in a terminal, how far the stage at work is."""

    def __init__(self, messages: submit.Messages) -> None:
        self.messages = messages
        self._bar = TerminalReport("")

    def __call__(self) -> None:
        if lines := self.messages.new():
            self.close()  # a line printed over the bar would leave half of it
            print_lines(lines)
        if not sys.stderr.isatty():
            return
        progress = self.messages.progress()
        if progress is None or progress.stage != self._bar.name:
            self.close()
        if progress is not None:
            self._bar.name = progress.stage
            self._bar.progress(round(progress.percent), 100, progress.note)

    def close(self) -> None:
        self._bar.close()


def _watch(here: Local, command: list[str], show_progress: Callable[[], None]) -> int:
    """Exit status of the watching command; ServiceError when a service ends meanwhile, for it would wait for ever.

    What the command itself prints, every event of the run, goes to a log; people see the stages' own lines.
    """
    log = (here.where.logs / "watch.log").open("wb")
    with (
        log,
        subprocess.Popen(
            command, cwd=ROOT, env=here.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        ) as watching,
    ):
        try:
            while True:
                try:
                    return watching.wait(timeout=2)
                except subprocess.TimeoutExpired:
                    show_progress()
                    for service in here.services:
                        if not services.is_up(service, here.where.services):
                            raise ServiceError(
                                f"the {service.name} ended during the run, see {service.log(here.where.logs)}; "
                                "run again: finished stages are reused, training goes on from its checkpoint"
                            ) from None
        finally:
            watching.terminate()


def stop(here: Local) -> None:
    """End what ``up`` started here, and nothing else."""
    if not here.where.services.is_dir():
        print_message(f"nothing was started in {here.where.root}")
        return
    with FileLock(here.where.services / "lock"):
        services.stop_all(here.where.services, [service.name for service in here.services], print_message)


def print_lines(lines: list[str]) -> None:
    for line in lines:
        print(line, flush=True)


def print_message(text: str) -> None:
    print(f"gensr: {text}", flush=True)


def read_config(text: str | None) -> dict[str, Any]:
    """The flow's parameter ``config`` as given, paths made absolute. Raises ConfigError that names what is wrong."""
    try:
        given = json.loads(text) if text else {}
    except ValueError as error:
        raise ConfigError(f"CONFIG is not JSON ({error}): {text}") from error
    if not isinstance(given, dict):
        raise ConfigError(f"CONFIG is not a JSON object: {text}")
    try:
        config = PipelineConfig.model_validate(given)
    except ValidationError as error:
        raise ConfigError(f"CONFIG does not fit gensr_model/config/pipeline.py:\n{wrong_fields(error)}") from error
    given = merge_overrides(given)
    _check_imports(given, config)
    return overlay(given, _absolute_paths(config))


def _check_imports(given: dict[str, Any], config: PipelineConfig) -> None:
    """Raise ConfigError for a format or a system that a run could not import or use; what a preset names is known."""
    if config.format not in FORMATS:
        from tasks.core.dataset_format import dataset_format  # Great Expectations: seconds

        if reason := lacks_order(dataset_format(config.format).facts, config.prepare.same_time):
            raise ConfigError(reason)
    if {"systems", "points"} & given.get("rerank", {}).keys():
        from tasks.compare.names import check_names, check_points  # torch: seconds

        check_names(config.rerank.systems)
        check_points(config)


def _absolute_paths(config: PipelineConfig) -> dict[str, Any]:
    """The config's paths as the worker, which runs in another folder, has to read them."""
    changes: dict[str, Any] = {}
    if isinstance(config.source, FolderSource):
        changes["source"] = _absolute(config.source.path)
    backbone, vectors = config.model.backbone.name_or_path, config.semantic_ids.vectors
    if backbone and (folder := _model_folder("model.backbone.name_or_path", backbone)):
        changes["model"] = {"backbone": {"name_or_path": folder}}
    if "/" in vectors and (folder := _model_folder("semantic_ids.vectors", vectors)):  # else tfidf or cf
        changes["semantic_ids"] = {"vectors": folder}
    if config.rerank.saved_ranks:
        files = [file.model_dump(mode="json") for file in config.rerank.saved_ranks]
        changes["rerank"] = {"saved_ranks": [file | {"path": _absolute(file["path"])} for file in files]}
    return changes


def _model_folder(field: str, given: str) -> str | None:
    """The absolute path of a model's folder; None for the name of one of the hub. ConfigError for another path."""
    if Path(given).expanduser().is_dir():
        return _absolute(given)
    if given.startswith(("/", ".", "~")):
        raise ConfigError(f"{field}: {given!r} is no folder, seen from {Path.cwd()}; name the folder of a T5")
    return None


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().resolve())


def main(arguments: list[str] | None = None) -> int:
    """The command line; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m flows.local", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=["run", "up", "stop"])
    parser.add_argument("--config", help="the flow's parameter `config` as JSON; without it the deployment's own")
    given = parser.parse_args(arguments)
    try:
        return run_command(given.action, lambda: _act(given.action, given.config))
    except KeyboardInterrupt:
        print_message("interrupted; the servers stay up and a run that was started goes on: `make stop` ends them")
        return 130


def _act(action: str, config: str | None) -> int:
    here = local()
    os.environ.clear()
    os.environ.update(here.environment)
    if action == "run":
        return run(here, read_config(config))
    if action == "up":
        up(here)
    else:
        stop(here)
    return 0
