"""One watched run of a deployment on the local servers: its stages as they come, then its results and links."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from flows.local import services
from flows.local.installation import PREFECT, ROOT, Local
from flows.local.servers import print_message, up
from flows.local.services import ServiceError
from gensr_model.errors import shortened
from gensr_model.runtime.progress import TerminalReport
from tasks.core.error_log import log_file

if TYPE_CHECKING:
    from flows.local import submit

PIPELINE, SUMMARY = "gensr/full-pipeline", "summary.json"
YOUR_LOGS = "check --data FOLDER --format logs   (your own events.csv and items.csv)"


def run(here: Local, config: dict[str, Any], deployment: str = PIPELINE, better: str = "") -> int:
    """Bring everything up, run a deployment and show what it came to; the exit status.

    ``config`` is the deployment's parameter; the empty one leaves what ``prefect.yaml`` says. ``better`` are the
    arguments of ``gensr`` for the same run with preset best.
    """
    up(here)
    from flows.local import submit

    name = f"{time.strftime('run-%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:4]}"
    print_message(f"Prefect {here.prefect_url}    MLflow {here.mlflow_url}    logs {here.where.logs}")
    command = [*PREFECT, "deployment", "run", deployment, "--watch", "--flow-run-name", name]
    if config:
        command += ["--params", json.dumps({"config": config})]
    messages = submit.Messages(name)
    shown = Shown(messages)
    status = _watch(here, command, shown)
    shown.close()
    print_lines([line.text for line in messages.new()])
    outcome = submit.outcome(name)
    if outcome is None:
        log = here.where.logs / "watch.log"
        raise ServiceError(
            f"the run could not be created: {services.last_line(log)}\nAll that Prefect said is in {log}"
        )
    page = f"{here.prefect_url}/runs/flow-run/{outcome.id}"
    folder = here.where.runs / outcome.id
    if (folder / SUMMARY).is_file():  # of a run in which a study failed, too: all else is published
        summary = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
        print_results(summary)
        following = next_command(summary, better) if outcome.completed and deployment == PIPELINE else ""
        print_places(here, summary, folder, page, following)
    elif outcome.completed:  # a retraining, which has no summary
        print(f"Prefect  {page}")
    if outcome.completed:
        return status
    submit.end_tracking_of_ended_runs()
    trace = log_file(outcome.id)
    log = trace if trace.is_file() else here.worker.log(here.where.logs)
    print(f"gensr: the run {name} ended as {outcome.state}, {page}\nTrace: {log}", file=sys.stderr)
    print(shortened(outcome.message), file=sys.stderr)  # last, where people look
    return 1


def print_results(summary: dict[str, Any]) -> None:
    """What a finished run came to, in few lines."""
    from gensr_model.reporting import screen  # NumPy and Matplotlib: not for `gensr down`

    screen.show(summary, Console())


def print_places(here: Local, summary: dict[str, Any], run: Path, page: str, following: str) -> None:
    """What to open next and the arguments of a command that may follow; a path is printed whole, however long."""
    from tasks.core.tracking import run_page

    places = {"Report": _from_here(run / "report.html"), "Prefect": page,
              "MLflow": run_page(here.mlflow_url, summary["mlflow"])}  # fmt: skip
    if following:
        tried = _page_of(summary["dataset"])
        places["Try it"] = f"{_command()} {tried}   (a page to try the champion, or this model where there is none)"
        places["Next"] = f"{_command()} {following}"
    print("\nOpen next")
    for name, place in places.items():
        print(f"{name:<8} {place}", flush=True)


def next_command(summary: dict[str, Any], better: str) -> str:
    """The arguments of the command to go on with: after generated data your own, after a first look the ``better``."""
    if summary["config"]["source"]["kind"] == "generated":
        return YOUR_LOGS
    return better if better and summary["preset"] == "demo" else "report --open"


def _page_of(dataset: str) -> str:
    """The arguments of the command that shows the page of the model of these data."""
    from gensr_model.config.pipeline import PipelineConfig

    demo = PipelineConfig.model_validate({"preset": "demo"}).name
    return "serve --demo" if dataset == demo else f"serve --model {shlex.quote(f'gensr-{dataset}')}"


def _command() -> str:
    """How a shell here calls ``gensr``: `make run` does not need it on the path."""
    return "gensr" if shutil.which("gensr") else _from_here(Path(sys.executable).with_name("gensr"))


def _from_here(path: Path) -> str:
    """The path from the working folder where it lies below it."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


class Shown:
    """What people see of a run: a line for each stage. A terminal also has a bar for the stage at work.

    Where there is no bar the beginning of a stage is a line, too.
    """

    def __init__(self, messages: submit.Messages) -> None:
        self.messages = messages
        self._bar = TerminalReport("")

    def __call__(self) -> None:
        in_place = sys.stderr.isatty()
        if lines := self.messages.new():
            self.close()  # a line printed over the bar would leave half of it
            print_lines([line.text for line in lines if not (line.starts and in_place and sys.stdout.isatty())])
        if not in_place:
            return
        progress = self.messages.progress()
        if progress is None or progress.stage != self._bar.name:
            self.close()
        if progress is not None:
            self._bar.name = progress.stage
            self._bar.progress(min(round(progress.percent), 99), 100, progress.note)  # at 100 it would go

    def close(self) -> None:
        """Take the bar away."""
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


def print_lines(lines: list[str]) -> None:
    for line in lines:
        print(line, flush=True)
