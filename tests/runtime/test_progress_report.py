"""The progress bar, in a terminal of its own and without one."""

from __future__ import annotations

import io
import os
import pty
import select
import subprocess
import sys
import termios

import pytest

from gensr_model.runtime.progress import TerminalReport

SCRIPT = """
from gensr_model.runtime.progress import TerminalReport
bar = TerminalReport("finetune-gensr")
for done in (1, 20, 40):
    bar.progress(done, 40, f"loss 0.{done}")
    if bar._bar is not None:
        bar._bar.refresh()
bar.progress(5, 50, "scoring")
bar._bar.refresh()
bar.close()
"""


def test_a_terminal_sees_what_runs_and_how_far_it_is() -> None:
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))  # without a width there is no bar to draw
    done = subprocess.run([sys.executable, "-c", SCRIPT], stderr=theirs, stdout=subprocess.PIPE, timeout=60)
    assert done.returncode == 0
    assert select.select([ours], [], [], 0)[0], "nothing was drawn"
    seen = os.read(ours, 100_000).decode()  # while the other end is open: what waits is lost with it
    os.close(theirs)
    os.close(ours)
    assert done.stdout == b""
    assert "finetune-gensr" in seen
    assert "20/40" in seen
    assert "loss 0.20" in seen
    assert "5/50" in seen, "work that starts over has a bar of its own"


@pytest.mark.parametrize("terminal", [True, False])
def test_a_log_file_sees_nothing_of_what_a_terminal_sees(monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    log = io.StringIO()
    monkeypatch.setattr(log, "isatty", lambda: terminal)
    monkeypatch.setattr(sys, "stderr", log)
    report = TerminalReport("evaluate")
    for done in range(1, 11):
        report.progress(done, 10, "scoring")
    report.close()
    assert ("evaluate" in log.getvalue()) == terminal
    assert terminal or log.getvalue() == ""
