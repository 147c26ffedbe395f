"""``make run`` on real servers: the table, reuse, a failing run, and an end that spares everybody else."""

from __future__ import annotations

import http.client
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from installed import Installed
from tiny_run import TINY

from flows.local.installation import ROOT
from flows.local.services import port_is_free

pytestmark = pytest.mark.slow


@pytest.fixture
def installed(tmp_path: Path) -> Iterator[Installed]:
    installed = Installed(tmp_path)
    yield installed
    installed.command("down")


@pytest.fixture
def decoy() -> Iterator[subprocess.Popen[bytes]]:
    """Somebody else's process whose command line looks like our worker's."""
    command = [
        sys.executable,
        "-c",
        "import time; time.sleep(900)",
        "-m",
        "prefect",
        "worker",
        "start",
        "--pool",
        "gensr",
    ]
    with subprocess.Popen(command, start_new_session=True) as process:
        yield process
        process.kill()


def test_run_shows_the_table_then_reuses_everything_and_a_failing_run_says_why(
    installed: Installed, decoy: subprocess.Popen[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    status, out, err = installed.command("run", config=TINY)
    assert status == 0, out + err
    end = out[out.index("\ntiny:") :]
    assert len(end.splitlines()) <= 40
    for shown in ("Recommendation, 80 test samples", "Search, 80 test samples", "GenSR ", "Findings", "Open next"):
        assert shown in end
    assert "\x1b" not in out, "no colour where nobody looks"
    for stage in ("ingest", "finetune-gensr", "evaluate-bm25", "analyze-space"):
        lines = re.findall(rf"^\d\d:\d\d:\d\d  {stage}: (started|done in [\d.]+ s)$", out, re.M)
        assert [line.split()[0] for line in lines] == ["started", "done"], stage
    assert "prefect.task-run" not in out  # events go to a log
    summary = installed.summary(out)
    assert f"Prefect  http://127.0.0.1:{installed.prefect_port}/runs/flow-run/{summary['flow_run_id']}" in out
    assert not any(stage["reused"] for stage in summary["stages"])
    report = ROOT / re.findall(r"^Report   (.+)$", out, re.M)[0]
    assert f"/#/experiments/{summary['mlflow']['experiment_id']}/runs/" in report.read_text(encoding="utf-8")
    _check_mlflow_over_http(installed, out, tmp_path, monkeypatch)
    _check_that_mlflow_keeps_a_connection(installed)

    status, told, err = installed.command("status")
    assert (status, err) == (0, "")
    assert told.count(" up") == 3
    assert told.splitlines()[-1].endswith("/runs/latest/report.html")
    worker = installed.service("worker")
    status, out, err = installed.command("run", config=TINY)
    assert status == 0, out + err
    again = installed.summary(out)
    assert again["results"] == summary["results"]
    assert all(stage["reused"] for stage in again["stages"])
    assert re.search(r"  finetune-gensr: reused, unchanged since it was built in [\d.]+ s$", out, re.M)
    assert "starting" not in out
    assert installed.service("worker") == worker

    empty = tmp_path / "empty"
    empty.mkdir()
    nothing = {"source": {"kind": "folder", "path": str(empty)}}
    status, _, err = installed.command("run", config=TINY | nothing)
    assert (status, "ended as Failed" in err, str(empty) in err) == (1, False, True), "without a format it ends at once"
    status, out, err = installed.command("run", config=TINY | nothing | {"format": "amazon"})
    assert status == 1
    assert "Open next" not in out
    assert "DataError" not in out, "the block stands once, last"
    block = err.splitlines()
    assert len(block) <= 5, err
    assert "ended as Failed" in block[0]
    assert "DataError" in err
    assert str(empty) in err
    assert "DataError" in err.split("\nTrace: ")[1], "what is wrong stands last"
    trace = Path(next(line for line in block if line.startswith("Trace: ")).removeprefix("Trace: ")).read_text(
        encoding="utf-8"
    )
    assert "Traceback (most recent call last)" in trace
    said = out + err + (installed.home.logs / "worker.log").read_text(encoding="utf-8")
    assert "Traceback" not in said

    status, out, err = installed.command("down")
    assert (status, err) == (0, "")
    assert [line.split(":")[1].strip() for line in out.splitlines()] == ["worker", "Prefect server", "MLflow server"]
    assert installed.processes() == []
    assert port_is_free(installed.prefect_port)
    assert port_is_free(installed.mlflow_port)
    assert decoy.poll() is None


def _check_that_mlflow_keeps_a_connection(installed: Installed) -> None:
    """It is open longer than the seconds between two messages of a training."""
    connection = http.client.HTTPConnection("127.0.0.1", installed.mlflow_port, timeout=30)
    connection.connect()
    first = connection.sock
    for _ in range(2):
        connection.request("GET", "/health")
        assert connection.getresponse().read() == b"OK"
        assert connection.sock is first, "it was opened anew"
        time.sleep(7)
    connection.close()


def _check_mlflow_over_http(installed: Installed, out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The printed link is a run whose tree, documents and model come back from the server."""
    result = re.search(rf"^MLflow   http://127.0.0.1:{installed.mlflow_port}/#/experiments/\d+/runs/(\w+)$", out, re.M)
    assert result, out
    client = installed.mlflow
    parent = client.get_run(result[1])
    summary = installed.summary(out)
    assert parent.info.status == "FINISHED"
    expected = {"dataset_digest": summary["dataset_digest"], "config_hash": summary["config_hash"], "seed": "0",
                "prefect_flow_run_id": summary["flow_run_id"]}  # fmt: skip
    assert expected.items() <= parent.data.tags.items()
    assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?", parent.data.tags["git_commit"])
    children = installed.children(result[1])
    assert {stage["label"] for stage in summary["stages"]} | {"model"} == set(children)
    assert {run.info.status for run in children.values()} == {"FINISHED"}
    for stage in ("validate-raw", "validate"):
        page = client.download_artifacts(children[stage].info.run_id, "data_docs/index.html", str(tmp_path))
        assert "Data Docs" in Path(page).read_text(encoding="utf-8")
    figure = client.download_artifacts(children["analyze-gradients"].info.run_id, "validation.png", str(tmp_path))
    assert Path(figure).read_bytes().startswith(b"\x89PNG")

    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"http://127.0.0.1:{installed.mlflow_port}")
    try:
        model = mlflow.pyfunc.load_model(children["model"].data.tags["model_uri"])
    finally:
        mlflow.set_tracking_uri(before)
    items = list(model.input_example["candidates"].iloc[0])
    answer = model.predict(pd.DataFrame({"history": [items[:1]], "query": ["word"], "candidates": [items]}))
    assert sorted(answer["items"][0]) == sorted(items)
