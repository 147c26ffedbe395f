"""A worker killed in the middle of fine-tuning in two processes: the next run goes on from the last checkpoint, in one.

The curve is that of one process all along, so the number of processes is in neither the key nor the result.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from installed import START_AND_RUN, Installed, wait_for
from tiny_run import TINY

from gensr_model.config.pipeline import PipelineConfig
from gensr_model.data.prepared import PreparedDataset
from gensr_model.runtime.progress import NullReport
from gensr_model.training.finetune import finetune

pytestmark = pytest.mark.slow
LONG = TINY | {
    "model": TINY["model"] | {"view_dropout": 0, "backbone": TINY["model"]["backbone"] | {"dropout": 0}},
    "train": TINY["train"] | {"epochs": 4, "patience": 1000, "checkpoint_every": 5},
    "analysis": {"enabled": False},
}


@pytest.fixture
def installed(tmp_path: Path) -> Iterator[Installed]:
    installed = Installed(tmp_path)
    yield installed
    installed.command("down")


def test_a_killed_fine_tuning_is_finished_from_its_last_checkpoint(installed: Installed) -> None:
    in_two = LONG | {"train": LONG["train"] | {"processes": 2}}
    with installed.begin("run", config=in_two) as watching:
        try:
            wait_for(lambda: _saved_step(installed) >= 20, START_AND_RUN, "checkpoints")
            assert sorted(rank for p in installed.processes() if (rank := p.environ().get("RANK"))) == ["0", "1"]
            killed = installed.kill_worker()
            saved = _saved_step(installed)
            _, err = watching.communicate(timeout=60)
        finally:
            watching.kill()
    assert len(killed) > 1, "the worker had no flow run"
    assert watching.returncode == 1
    assert "the worker ended during the run" in err
    assert "run again" in err

    status, out, err = installed.command("run", config=LONG)
    assert status == 0, out + err
    assert "marked 1 run(s) of a killed worker as crashed" in out
    summary = installed.summary(out)
    reused = {stage["label"]: stage["reused"] for stage in summary["stages"]}
    assert [label for label, was in reused.items() if was] == [
        "ingest",
        "check",
        "validate-raw",
        "prepare",
        "validate",
        "pretrain",
    ]
    tuned = installed.children(summary["mlflow"]["run_id"])["finetune-gensr"].data.metrics
    assert tuned["resumed_at"] == saved
    assert tuned["epochs"] == 4
    _check_that_one_process_has_the_same_curve(installed)

    crashed, completed = installed.flow_runs("gensr")
    assert (crashed["state_name"], completed["state_name"]) == ("Crashed", "Completed")
    _check_that_the_crashed_run_is_closed_in_mlflow(installed, crashed["id"])
    assert not any(process.is_running() for process in killed)
    worker = installed.service("worker")
    wait_for(lambda: not worker.children(recursive=True), 30, "the end of the flow run's process")
    ours = {worker, installed.service("Prefect server"), installed.service("MLflow server")}
    assert {p for p in installed.processes() if not ours & {p, *_parents(p)}} == set()


def _check_that_one_process_has_the_same_curve(installed: Installed) -> None:
    store, out = installed.home.store, installed.home.root / "again"
    out.mkdir()
    prepared, cf = (next((store / stage).glob("*/stage.json")).parent for stage in ("prepare", "pretrain"))
    config = PipelineConfig.model_validate(LONG)
    finetune(PreparedDataset.open(prepared), cf, config, out / "checkpoints", out, NullReport())
    results = [*(store / "finetune").glob("*/training.json"), out / "training.json"]
    curves = [json.loads(file.read_text(encoding="utf-8"))["curve"] for file in results]
    curves = [curve for curve in curves if "generation" in curve[0]]  # the others are of two heads
    assert len(curves) == 2
    assert len(curves[0]) == len(curves[1]) >= 60
    for actual, expected in zip(*(curve[:50] for curve in curves), strict=True):  # 100 steps
        assert actual == pytest.approx(expected, rel=1e-4)
    losses = [[point["loss"] for point in curve] for curve in curves]
    assert losses[0] == pytest.approx(losses[1], rel=1e-2), "rounding grows with the steps"


def _parents(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.parents()
    except psutil.NoSuchProcess:
        return []


def _saved_step(installed: Installed) -> int:
    """Of the newest complete checkpoint; 0 where there is none yet, or it is being replaced."""
    for file in installed.home.checkpoints.glob("finetune-*/last/progress.json"):
        try:
            return int(json.loads(file.read_text(encoding="utf-8"))["step"])
        except FileNotFoundError:
            continue
    return 0


def _check_that_the_crashed_run_is_closed_in_mlflow(installed: Installed, flow_run_id: str) -> None:
    client = installed.mlflow
    (experiment,) = [e for e in client.search_experiments() if e.name == "gensr"]
    (parent,) = client.search_runs([experiment.experiment_id], f"tags.prefect_flow_run_id = '{flow_run_id}'")
    assert parent.info.status == "KILLED"
    assert installed.children(parent.info.run_id)["finetune-gensr"].info.status == "KILLED"
    assert client.search_runs([experiment.experiment_id], "attributes.status = 'RUNNING'") == []
