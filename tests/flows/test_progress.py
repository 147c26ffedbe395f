"""How far a run is, as ``make run`` reads it from the Prefect server and shows it."""

from __future__ import annotations

import asyncio
import sys
import uuid

import pytest
from prefect import flow
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.logging.handlers import APILogHandler

from flows.local.submit import Line, Messages, StageProgress
from flows.local.watch import Shown
from tasks.core.run_log import PROGRESS, STARTED, run_logger
from tasks.core.tracking import progress_key


@flow
def stages(*shares: float) -> None:
    """One finished stage, and one at work that tells of itself as often as there are shares."""
    for stage in ("pretrain", "evaluate-query_count"):
        run_logger().info("%s: %s", stage, STARTED)
        create_progress_artifact(40.0, key=progress_key(stage), description="epoch 4")
    run_logger().info("pretrain: done in 3.0 s")
    artifact = create_progress_artifact(50.0, key=progress_key("pretrain"), description="late")
    for share in shares:
        update_progress_artifact(artifact, share, description=f"loss at {share:.0f}")  # type: ignore[arg-type]
    run_logger(PROGRESS).info("evaluate-query_count: 4 of 10 (epoch 4)")
    asyncio.run(APILogHandler.aflush())


@pytest.mark.usefixtures("prefect_server")
def test_the_bar_is_of_a_stage_at_work_whatever_an_ended_one_told_of_itself() -> None:
    name = f"run-{uuid.uuid4()}"
    messages = Messages(name)
    assert messages.progress() is None, "no run is known yet"
    stages.with_options(flow_run_name=name)(60.0)
    lines = messages.new()
    assert [(line.text[10:], line.starts) for line in lines] == [
        ("pretrain: started", True),
        ("evaluate-query_count: started", True),
        ("pretrain: done in 3.0 s", False),
    ]
    assert messages.progress() == StageProgress("evaluate-query_count", 40.0, "epoch 4")
    assert messages.new() == []


class Told(Messages):
    """What a server would say, without one."""

    def __init__(self) -> None:
        super().__init__("run")
        self.lines: list[Line] = []
        self.stage: StageProgress | None = None

    def new(self) -> list[Line]:
        lines, self.lines = self.lines, []
        return lines

    def progress(self) -> StageProgress | None:
        return self.stage


@pytest.mark.parametrize("terminal", [True, False])
def test_a_stage_is_one_line_rewritten_in_a_terminal_and_two_plain_ones_elsewhere(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    for stream in (sys.stdout, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    told = Told()
    shown = Shown(told)
    told.lines, told.stage = [Line("12:00:00  ingest: started", starts=True)], StageProgress("ingest", 40.0, "rows")
    shown()
    told.lines, told.stage = [Line("12:00:09  ingest: done in 9.0 s")], None
    shown()
    shown.close()
    out, err = capsys.readouterr()
    ended = ["12:00:09  ingest: done in 9.0 s"]
    assert out.splitlines() == (ended if terminal else ["12:00:00  ingest: started", *ended])
    assert ("ingest" in err and "rows" in err) == terminal
    assert ("\x1b[2K" in err) == terminal, "the bar's line is erased"
