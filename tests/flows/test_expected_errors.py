"""An expected error ends a run with one block of at most five lines: in Prefect's log and in what the worker prints."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from mlflow import MlflowClient
from prefect import flow, task
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL
from prefect.states import Pending
from raw_edits import truncated
from run_logs import check_block, check_state, logs_of
from tiny_run import TINY

from flows.ablation import ablation
from flows.full_pipeline import full_pipeline
from flows.retrain import retrain
from gensr_model.config.data import GeneratedSource
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.data.synthetic import write_amazon
from gensr_model.data.synthetic.amazon_writer import REVIEWS
from gensr_model.errors import DataError
from tasks.core.state_dir import tracking_uri

pytestmark = pytest.mark.usefixtures("prefect_server")
Tiny = Callable[..., PipelineConfig]
DIVERGES = {"epochs": 1, "learning_rate": 1e30, "clip_norm": 1e30, "valid_samples": 40, "batch_size": 32}


def run_as_worker_does(flow: Any, entrypoint: str, config: dict[str, Any]) -> tuple[UUID, str]:
    """The flow run in a process of its own; its id, and all that the process printed."""
    with get_client(sync_client=True) as client:
        run = client.create_flow_run(flow, parameters={"config": config}, state=Pending())
    environment = os.environ | {"PREFECT_API_URL": str(PREFECT_API_URL.value()), "PREFECT__FLOW_ENTRYPOINT": entrypoint}
    done = subprocess.run(
        [sys.executable, "-m", "prefect.engine", str(run.id)],
        env=environment, capture_output=True, text=True, timeout=300,
        encoding="utf-8",
    )  # fmt: skip
    return run.id, done.stdout + done.stderr


def mlflow_statuses() -> dict[str, str]:
    """Status and error of each MLflow run, by name."""
    client = MlflowClient(tracking_uri())
    (experiment,) = [e for e in client.search_experiments() if e.name == "gensr"]
    runs = client.search_runs([experiment.experiment_id])
    return {run.info.run_name: f"{run.info.status} {run.data.tags.get('error', '')}" for run in runs}


def truncated_folder(tmp_path: Path) -> dict[str, str]:
    write_amazon(tmp_path / "source", GeneratedSource(users=60, items=150, events_per_user=16))
    truncated(REVIEWS)(tmp_path / "source")
    return {"kind": "folder", "path": str(tmp_path / "source")}


@pytest.mark.slow
def test_a_truncated_file_in_the_log_and_in_the_output_of_a_worker(gensr_home: Path, tmp_path: Path) -> None:
    source = truncated_folder(tmp_path)
    flow_run, output = run_as_worker_does(full_pipeline, "flows.full_pipeline.full_pipeline", TINY | {"source": source})
    block = check_block(gensr_home, flow_run, "DataError", f"{REVIEWS}: ", "truncated", "Copy or download")
    assert "Traceback" not in output
    assert output.count(block.splitlines()[-1]) == 1, "the block stands once"
    statuses = mlflow_statuses()
    assert all("FAILED DataError: " in status for status in statuses.values())
    assert len(statuses) == 2, "the run and its stage"


def test_a_missing_folder(gensr_home: Path, tiny: Tiny, tmp_path: Path) -> None:
    state = full_pipeline(tiny(source={"kind": "folder", "path": str(tmp_path / "none")}), return_state=True)
    flow_run = check_state(state, "DataError", "there is no such folder")
    check_block(gensr_home, flow_run, "/none: there is no such folder (source")


@pytest.mark.slow
def test_a_wrong_field_of_the_config(gensr_home: Path) -> None:
    flow_run, output = run_as_worker_does(
        full_pipeline, "flows.full_pipeline.full_pipeline", TINY | {"train": {"epochs": 0}}
    )
    check_block(gensr_home, flow_run, "config.train.epochs: Input should be greater than or equal to 1")
    assert "Traceback" not in output


def test_a_training_that_diverges(home_with_data: Path, tiny: Tiny) -> None:
    state = retrain(tiny(train=DIVERGES), return_state=True)
    flow_run = check_state(state, "DivergedError")
    block = check_block(home_with_data, flow_run, "DivergedError: ")
    statuses = mlflow_statuses()
    assert statuses["finetune-gensr"].startswith("FAILED DivergedError: ")
    assert block.splitlines()[0] in statuses["finetune-gensr"]


def test_an_error_in_a_stage_that_runs_in_a_process_of_its_own(
    home_with_data: Path, tiny: Tiny, capfd: pytest.CaptureFixture[str]
) -> None:
    trials = {"variants": ["no_soft_filter"], "concurrency": 2}
    state = ablation(tiny(train=DIVERGES, ablation=trials), return_state=True)
    flow_run = check_state(state, "TrainingError")
    check_block(home_with_data, flow_run, "TrainingError: gensr: the loss of step 1 is nan", "no_soft_filter: ")
    assert "Traceback" not in capfd.readouterr().err
    (trace,) = (home_with_data / "logs" / "errors").glob(f"{flow_run}.log")
    assert "in the process of tasks.train.finetune.finetune" in trace.read_text(encoding="utf-8")


@flow(name="unexpected", persist_result=False)
def unexpected() -> None:
    @task(name="divide", persist_result=False)
    def divide() -> float:
        return 1 / 0

    divide()


def test_an_unexpected_error_keeps_its_trace() -> None:
    state = unexpected(return_state=True)
    messages = [log.message for log in logs_of(state.state_details.flow_run_id)]
    assert sum("Traceback" in message and "return 1 / 0" in message for message in messages) == 2


@flow(name="many-lines", persist_result=False)
def many_lines() -> None:
    rows = "\n".join(f"  line {n}: no asin" for n in range(10))
    raise DataError(f"/data/reviews: 10 rows cannot be used:\n{rows}\nRepair the file.")


def test_a_long_message_is_shown_with_its_beginning_and_what_to_do(gensr_home: Path) -> None:
    state = many_lines(return_state=True)
    block = check_block(gensr_home, check_state(state, "Repair the file."))
    assert block.splitlines()[1:3] == ["  line 0: no asin", "(and 9 more) Repair the file."]
    assert "  line 9: no asin" in Path(block.splitlines()[-1].removeprefix("Trace: ")).read_text(encoding="utf-8")
