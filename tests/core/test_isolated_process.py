"""A stage's function in a process of its own: results, reports, errors and deaths come back."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from heard import Heard

from gensr_model.config.pipeline import PipelineConfig
from gensr_model.errors import ConfigError, DataError, DivergedError, GensrError
from gensr_model.runtime.child_errors import SubprocessError
from tasks.core.isolated_process import run_in_subprocess
from tasks.core.work import Work


def work(at: Work, config: PipelineConfig, how: str) -> dict[str, float]:
    """What the tests run alone."""
    if how == "raise":
        raise ValueError("not\nthis")
    if how == "say":
        raise DataError("the file is empty")
    if how == "diverge":
        raise DivergedError("the loss of step 4 is nan")
    if how == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "exit":
        os._exit(3)
    if how == "sleep":
        (at.out / "pid").write_text(str(os.getpid()), encoding="utf-8")
        time.sleep(300)
    at.report.metrics({"loss": 2.0}, 7)
    at.report.progress(1, 2, "half")
    held = bytearray(b"x") * (200 * 2**20 if how == "much" else 1)  # written, so that it is there
    assert held[0]
    origin = {"parent": float(os.getppid()), "given": float(os.environ.get("GENSR_GIVEN", "0"))}
    origin["imported"] = float("tasks.compare.baselines" in sys.modules)  # which nothing here imports
    return {"pid": float(os.getpid()), "seed": float(config.seed)} | origin


def in_subprocess(folder: Path, how: str, report: Heard | None = None) -> dict[str, float]:
    arguments = (PipelineConfig(seed=5), how)
    return run_in_subprocess(__name__, "work", (folder, folder), report or Heard(), arguments, share=1)


def test_results_and_reports_come_back_with_the_peak_of_memory(tmp_path: Path) -> None:
    heard = Heard()
    little = in_subprocess(tmp_path, "little", heard)
    assert heard.said == [({"loss": 2.0}, 7), (1, 2, "half")]
    assert little["seed"] == 5
    assert little["pid"] != os.getpid()
    much = in_subprocess(tmp_path, "much")
    assert 150 < much["peak_memory_mb"] - little["peak_memory_mb"] < 250


@pytest.mark.skipif(sys.platform != "linux" or torch.cuda.is_available(), reason="each imports by itself there")
def test_processes_come_from_one_server_and_have_the_environment_of_their_own_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = in_subprocess(tmp_path, "little")
    monkeypatch.setenv("GENSR_GIVEN", "7")
    second = in_subprocess(tmp_path, "little")
    assert first["parent"] == second["parent"] != os.getpid()
    assert psutil.Process(int(first["parent"])).ppid() == os.getpid()
    assert first["pid"] != second["pid"]
    assert (first["given"], second["given"]) == (0, 7)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("raise", "^ValueError: not\nthis\n"),  # followed by the note, its trace
        ("die", r"test_isolated_process\.work: its process was killed by signal 9; .* ran out of memory$"),
        ("exit", "ended with code 3 and without a result$"),
    ],
)
def test_an_error_or_a_death_is_said(tmp_path: Path, how: str, said: str) -> None:
    with pytest.raises(SubprocessError, match=said):
        in_subprocess(tmp_path, how)


@pytest.mark.parametrize(("how", "kind", "expected"), [("say", DataError, True), ("raise", SubprocessError, False)])
def test_an_error_comes_back_with_its_trace_and_prints_none(
    tmp_path: Path, how: str, kind: type[GensrError], expected: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(kind) as raised:
        in_subprocess(tmp_path, how)
    assert raised.value.expected is expected
    (trace,) = raised.value.__notes__
    assert "Traceback" in trace
    assert f'{__file__}", line ' in trace
    assert "Traceback" not in capfd.readouterr().err


def as_a_worker_of_dask(folder: Path) -> None:
    (folder / "metrics.json").write_text(json.dumps(in_subprocess(folder, "little")), encoding="utf-8")
    in_subprocess(folder, "sleep")


@pytest.mark.slow
def test_a_daemon_may_run_something_and_what_it_runs_dies_with_it(tmp_path: Path) -> None:
    """Dask's workers are daemons. This one starts a server of its own, which imports what stages need."""
    daemon = multiprocessing.get_context("spawn").Process(target=as_a_worker_of_dask, args=(tmp_path,), daemon=True)
    daemon.start()
    try:
        pid = tmp_path / "pid"
        while not (pid.is_file() and pid.read_text(encoding="utf-8")):
            assert daemon.is_alive()
            time.sleep(0.05)
        child = psutil.Process(int(pid.read_text(encoding="utf-8")))
    finally:
        daemon.kill()
        daemon.join()
    child.wait(timeout=60)
    metrics = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["seed"] == 5
    if sys.platform == "linux" and not torch.cuda.is_available():
        assert metrics["imported"] == 1, "a wrong name of what to import is passed over in silence"


def test_a_training_that_diverges_says_so_as_if_it_were_in_this_process(tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match="the loss of step 4 is nan"):
        in_subprocess(tmp_path, "diverge")


def test_a_child_of_other_code_than_the_run_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.core.isolated_process.versions", lambda: {"": "the code when this run began"})
    with pytest.raises(ConfigError, match=r"gensr changed after this run had begun.*Start the run again"):
        in_subprocess(tmp_path, "little")


def test_the_code_of_a_model_loaded_from_mlflow_is_not_what_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow puts it first on the path of a process that loads the model."""
    old = tmp_path / "artifacts" / "code"
    (old / "gensr_model").mkdir(parents=True)
    (old / "gensr_model" / "__init__.py").write_text("raise RuntimeError('of another day')", encoding="utf-8")
    monkeypatch.setattr(sys, "path", [str(old), *sys.path])
    assert in_subprocess(tmp_path, "little")["seed"] == 5
    assert str(old) not in sys.path
