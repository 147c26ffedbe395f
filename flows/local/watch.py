"""One watched run of a deployment on the local servers: its stages as they come, then its table and links."""

from __future__ import annotations

import json
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

PIPELINE = "gensr/full-pipeline"


def run(here: Local, config: dict[str, Any], deployment: str = PIPELINE) -> int:
    """Bring everything up, run a deployment and show its table; the exit status.

    ``config`` is the deployment's parameter; the empty one leaves what ``prefect.yaml`` says.
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
        print(f"gensr: the run {name} ended as {outcome.state}, {page}\nTrace: {log}", file=sys.stderr)
        print(shortened(outcome.message), file=sys.stderr)  # last, where people look
        return 1
    print_results(here, here.where.runs / outcome.id)
    print(f"Prefect  {page}")
    return status


def print_results(here: Local, run: Path) -> None:
    """The tables of a finished run and the place of the rest; nothing of a retraining, which has no table."""
    from tasks.core.tracking import run_page

    summary = run / "summary.json"
    if not summary.is_file():
        return
    print_tables(run)
    print(f"MLflow   {run_page(here.mlflow_url, json.loads(summary.read_text(encoding='utf-8'))['mlflow'])}")
    print(f"Summary  {summary}")
    print(f"Report   {run / 'report.html'}")


def print_tables(run: Path) -> None:
    """All tables of a finished run: drawn in a terminal, as Markdown where the output goes elsewhere."""
    from gensr_model.reporting import renderers, run_sections  # NumPy and Matplotlib: not for `gensr down`

    if sys.stdout.isatty():
        summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
        renderers.show(*run_sections.summary_sections(summary), Console())
    else:
        print("\n" + (run / "table.md").read_text(encoding="utf-8"))


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


def print_lines(lines: list[str]) -> None:
    for line in lines:
        print(line, flush=True)
