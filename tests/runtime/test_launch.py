"""What a stage hears of the processes that train for it: metrics, progress, one clear error, and their end."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from heard import Heard

from gensr_model.errors import ConfigError, DataError, GensrError, TrainingError
from gensr_model.runtime import launch
from gensr_model.runtime.child_errors import SubprocessError
from gensr_model.runtime.progress import NullReport

FAILED = {"message": "the file is empty", "expected": True, "trace": "where it was"}
# From torch.distributed.run: the summary of a group of which one process was killed and the others were ended.
KILLED = """Root Cause (first observed failure):
  rank      : 0 (local_rank: 0)
  exitcode  : -15 (pid: 11)
[1]:
  exitcode  : -9 (pid: 12)
"""
TAKEN = "launch distributed communication on port `29500`, but another process is utilizing it. Please specify a"


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let a script stand for `accelerate launch`. Its folder is in ``folder``."""

    def begin(script: str) -> None:
        head = "import json, pathlib, sys; folder = pathlib.Path(sys.argv[1]).parent\n"
        monkeypatch.setattr(launch, "command", lambda options, threads: [sys.executable, "-S", "-c", head + script])

    return begin


def run(folder: Path, report: Any = None) -> dict[str, float]:
    return launch.run("here:there", {"a": 1}, folder, [], 1, report or NullReport())


def test_lines_of_json_are_metrics_and_progress_and_the_last_one_is_the_result(tmp_path: Path, start: Any) -> None:
    lines = [["metrics", {"loss": 2.0}, 7], ["progress", 1, 2, "half"], ["done", {"steps": 3.0}]]
    start(f"print('a library'); print({chr(10).join(map(json.dumps, lines))!r})")
    heard = Heard()
    assert run(tmp_path / "launch", heard) == {"steps": 3.0}
    assert heard.said == [({"loss": 2.0}, 7), (1, 2, "half")]


@pytest.mark.parametrize(
    ("script", "kind", "message"),
    [
        # An error of ours counts more than that of a process which lost the other.
        (
            f"say(0, {FAILED | {'kind': 'RuntimeError', 'expected': False}}); say(1, {FAILED | {'kind': 'DataError'}})",
            DataError,
            "^the file is empty",
        ),
        (f"say(0, {FAILED | {'kind': 'OSError', 'expected': False}})", SubprocessError, "^OSError: the file is empty"),
        (
            f"say(0, {FAILED | {'kind': 'RuntimeError', 'expected': False}}); sys.stderr.write({KILLED!r})",
            SubprocessError,
            r"^here:there.* killed by signal 9; .*ran out of memory\. Run it again: training resumes",
        ),
        (f"sys.exit({TAKEN!r})", ConfigError, "main_process_port 29500 .* is in use on this machine. Choose another"),
        ("sys.exit('... EADDRINUSE ...')", TrainingError, "another program took the port .* Run it again"),
        ("sys.exit(3)", SubprocessError, "accelerate launch`: its process ended with code 3 and without a result"),
    ],
    ids=["ours", "not ours", "killed", "port of several machines", "port", "launch"],
)
def test_an_end_without_a_result_is_one_sentence(
    tmp_path: Path, start: Any, script: str, kind: type[GensrError], message: str
) -> None:
    say = "def say(rank, what): (folder / f'failed-{rank}.json').write_text(json.dumps(what))\n"
    start(say + script)
    with pytest.raises(kind, match=message) as raised:
        run(tmp_path / "launch")
    assert len(raised.value.__notes__) == 1
    assert not (tmp_path / "launch" / launch.JOB).exists(), "machines that look for jobs would begin it"


def test_what_interrupts_the_listener_ends_the_processes(tmp_path: Path, start: Any) -> None:
    start("print(json.dumps(['progress', 1, 2, 'half']), flush=True); sys.stdin.read()")

    class Cancelled(NullReport):
        def progress(self, done: int, total: int, note: str) -> None:
            raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "launch", Cancelled())
    assert time.monotonic() - began < 10
    assert not any(str(tmp_path) in " ".join(child.cmdline()) for child in psutil.Process().children())


MACHINES = "distributed_type: MULTI_GPU\nnum_machines: 2\nnum_processes: 4\nmachine_rank: 1\n"


def test_a_config_file_of_accelerate_says_which_machine_this_is(tmp_path: Path) -> None:
    file = tmp_path / "machines.yaml"
    file.write_text(MACHINES, encoding="utf-8")
    assert launch.of_file(file) == ([f"--config_file={file}"], 1, 2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "machines.yaml is no config file of Accelerate: .*does not exist.* Write it with `accelerate config"),
        ("- a list", "is no config file of Accelerate"),
        (f"{MACHINES}nobody: 1\n", "is no config file of Accelerate: .*nobody"),
        (MACHINES.replace("MULTI_GPU", "FSDP"), "distributed_type is .*FSDP, but training needs MULTI_GPU"),
        (MACHINES.replace("4", "3"), "num_processes is 3 and num_machines is 2. .*same number of processes to each"),
    ],
)
def test_a_config_file_that_training_cannot_follow_is_named(tmp_path: Path, content: str | None, message: str) -> None:
    file = tmp_path / "machines.yaml"
    if content is not None:
        file.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        launch.of_file(file)


def test_processes_are_as_many_as_devices_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ACCELERATE_USE_CPU", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert [launch.processes_of(wanted) for wanted in ("auto", 3)] == [1, 3]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [launch.processes_of(wanted) for wanted in ("auto", 1, 2)] == [2, 1, 2]
    with pytest.raises(ConfigError, match=r"processes is 3, but this machine has 2 CUDA devices.* to 2 or auto"):
        launch.processes_of(3)
