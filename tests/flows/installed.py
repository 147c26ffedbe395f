"""A whole local installation for the slow tests: real servers and worker, free ports, a folder of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
from mlflow import MlflowClient
from mlflow.entities import Run

from flows.local import services
from flows.local.installation import ROOT
from tasks.core.state_dir import StateDir, server_environment

# A locale without UTF-8, and a proxy where nobody is.
HOSTILE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "http_proxy": "http://127.0.0.1:9"}
START_AND_RUN = 300.0  # seconds, generous: the machine may be busy


class Installed:
    """Commands as a person types them, and what the servers answer.

    The shell is of another country and has a proxy: neither may matter here.
    """

    def __init__(self, folder: Path) -> None:
        self.home = StateDir(folder / "a home")  # with a space, as home folders may have
        self.prefect_port, self.mlflow_port = _free_ports()
        self.environment = {
            k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MLFLOW_")) and k.lower() != "no_proxy"
        } | {
            "GENSR_HOME": str(self.home.root),
            "GENSR_PREFECT_PORT": str(self.prefect_port),
            "GENSR_MLFLOW_PORT": str(self.mlflow_port),
            "OMP_NUM_THREADS": "1",
            **HOSTILE,
        }

    def begin(self, *arguments: str, config: dict[str, Any] | None = None) -> subprocess.Popen[str]:
        """``gensr ...``, not waited for."""
        command = [sys.executable, "-m", "flows.cli", *arguments]
        command += ["--config", json.dumps(config)] if config else []
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )

    def command(self, *arguments: str, config: dict[str, Any] | None = None) -> tuple[int, str, str]:
        """Exit status, stdout and stderr of ``gensr ...``."""
        with self.begin(*arguments, config=config) as process:
            try:
                out, err = process.communicate(timeout=START_AND_RUN)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        return process.returncode, out, err

    @contextmanager
    def serving(self, *arguments: str) -> Iterator[str]:
        """``gensr serve ...``; its address."""
        command = [sys.executable, "-m", "flows.cli", "serve", "--port", "0", *arguments]
        said = self.home.root.parent / "serve.log"
        with (
            said.open("w", encoding="utf-8") as out,
            subprocess.Popen(command, cwd=ROOT, env=self.environment, stdout=out, stderr=out) as process,
        ):
            try:
                started = r"^  page     (http://127\.0\.0\.1:\d+)/$"

                def address() -> str | None:
                    assert process.poll() is None, said.read_text(encoding="utf-8")
                    found = re.search(started, said.read_text(encoding="utf-8"), re.M)
                    return found and found[1]

                yield wait_for(address, 300, "gensr serve")
                process.send_signal(signal.SIGINT)
                assert process.wait(60) == 0, said.read_text(encoding="utf-8")
            finally:
                process.kill()

    def prefect(self, *arguments: str) -> None:
        """A command of Prefect's own, with the environment that the worker has."""
        environment = server_environment(self.home, self.prefect_port, self.mlflow_port)
        command = [sys.executable, "-m", "prefect", "--no-prompt", *arguments]
        subprocess.run(command, cwd=ROOT, env=self.environment | environment, check=True, timeout=120)

    def api(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """Prefect's REST API: POST where there is a body. A busy database answers 503, which clients try again."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.prefect_port}/api/{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        for attempt in range(5):
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    return json.load(answer)
            except urllib.error.HTTPError as error:
                if error.code != 503 or attempt == 4:
                    raise
                time.sleep(1)
        return None

    def flow_runs(self, flow: str) -> list[dict[str, Any]]:
        result: list[dict[str, Any]] = self.api(
            "flow_runs/filter", {"flows": {"name": {"any_": [flow]}}, "sort": "EXPECTED_START_TIME_ASC"}
        )
        return result

    @property
    def mlflow(self) -> MlflowClient:
        return MlflowClient(f"http://127.0.0.1:{self.mlflow_port}")

    def children(self, run_id: str) -> dict[str, Run]:
        """Nested MLflow runs by name."""
        client = self.mlflow
        parent = client.get_run(run_id)
        result = client.search_runs(
            [parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{run_id}'", max_results=200
        )
        return {run.info.run_name: run for run in result}

    def summary(self, stdout: str) -> dict[str, Any]:
        """The summary beside the report that the output of a run names."""
        result = re.search(r"^Report   (.*)$", stdout, re.MULTILINE)
        assert result, stdout
        content: dict[str, Any] = json.loads((ROOT / result[1]).with_name("summary.json").read_text(encoding="utf-8"))
        return content

    def service(self, name: str) -> psutil.Process:
        known = services.read_record(self.home.services, name)
        assert known is not None, name
        return psutil.Process(known.pid)

    def kill_worker(self) -> list[psutil.Process]:
        """SIGKILL the worker and its flow runs at once, as a crash of the machine would; what was killed."""
        worker = self.service("worker")
        tree = [worker, *worker.children(recursive=True)]
        for process in tree:
            with suppress(psutil.NoSuchProcess):  # a short-lived child may have ended since it was listed
                process.kill()
        psutil.wait_procs(tree, timeout=20)
        return tree

    def processes(self) -> list[psutil.Process]:
        """All processes with this state folder in their environment, this one excepted."""
        result = []
        for process in psutil.process_iter():
            try:
                if process.pid != os.getpid() and process.environ().get("GENSR_HOME") == str(self.home.root):
                    result.append(process)
            except psutil.Error:
                continue
        return result


def wait_for(result: Callable[[], Any], seconds: float, what: str) -> Any:
    """The first true value; fails after so many seconds."""
    deadline = time.monotonic() + seconds
    while not (value := result()):
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.5)
    return value


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1]), int(two.getsockname()[1])
