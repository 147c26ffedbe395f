"""Local servers before any is up, prefect.yaml, and what the deployments show as a form."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.client.orchestration import get_client
from prefect.utilities.importtools import import_object

from flows.local import installation, submit
from flows.local.installation import ROOT
from flows.local.services import ServiceError
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.config.presets import PRESETS
from tasks.core.state_dir import StateDir, server_environment


def deployments() -> dict[str, dict[str, Any]]:
    result = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))
    return {d["name"]: d for d in result["deployments"]}


def command(tmp_path: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """``gensr`` in a state folder of its own."""
    return subprocess.run(
        [sys.executable, "-m", "flows.cli", *arguments],
        env=os.environ | {"GENSR_HOME": str(tmp_path / "home")} | environment,
        capture_output=True,
        text=True,
        timeout=120,
        encoding="utf-8",
    )


@pytest.mark.parametrize("variable", ["GENSR_PREFECT_PORT", "GENSR_MLFLOW_PORT"])
def test_a_taken_port_stops_the_command_before_anything_is_started(tmp_path: Path, variable: str) -> None:
    with socket.socket() as taken, socket.socket() as other:
        for each in (taken, other):
            each.bind(("127.0.0.1", 0))
        taken.listen()
        port, free = str(taken.getsockname()[1]), str(other.getsockname()[1])
        other.close()
        ports = dict.fromkeys(installation.USUAL_PORTS, free) | {variable: port}
        done = command(tmp_path, "run", **ports)
    assert done.returncode == 1
    assert f"port {port} " in done.stderr
    assert f"{variable}=<port>" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "home" / "services").glob("*.json"))


@pytest.mark.parametrize(
    ("ports", "said"),
    [
        ({"GENSR_PREFECT_PORT": "http"}, "GENSR_PREFECT_PORT='http' is no port"),
        ({"GENSR_MLFLOW_PORT": "70000"}, "GENSR_MLFLOW_PORT='70000' is no port"),
        ({"GENSR_PREFECT_PORT": "5000", "GENSR_MLFLOW_PORT": "5000"}, "both 5000"),
    ],
)
def test_a_wrong_port_is_named(monkeypatch: pytest.MonkeyPatch, ports: dict[str, str], said: str) -> None:
    for name, value in ports.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ServiceError, match=said):
        installation.local()


def test_nothing_that_the_shell_says_to_prefect_or_mlflow_reaches_the_servers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_KEY", "secret")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://mlflow.example")
    result = server_environment(StateDir(tmp_path), 4201, 5001)
    assert "PREFECT_API_KEY" not in result
    assert result["PREFECT_API_URL"] == "http://127.0.0.1:4201/api"
    assert result["MLFLOW_TRACKING_URI"] == "http://127.0.0.1:5001"
    assert result["PATH"] == os.environ["PATH"]


def test_stop_where_nothing_was_started_says_so(tmp_path: Path) -> None:
    done = command(tmp_path, "down")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"nothing was started in {tmp_path / 'home'}" in done.stdout
    assert not (tmp_path / "home").exists()
    bare = ["make", "--no-print-directory", "stop", f"VENV={tmp_path / 'none'}"]
    made = subprocess.run(bare, cwd=ROOT, capture_output=True, text=True, timeout=60, encoding="utf-8")
    assert (made.returncode, made.stdout) == (0, "gensr: nothing is installed here\n")


def test_the_nightly_run_is_scheduled_and_alone() -> None:
    nightly = deployments()["nightly"]
    assert [s["cron"] for s in nightly["schedules"]] == ["0 2 * * *"]
    assert nightly["concurrency_limit"] == {"limit": 1, "collision_strategy": "CANCEL_NEW"}
    batch = deployments()["batch"]
    assert [(s["cron"], s["active"]) for s in batch["schedules"]] == [("0 4 * * *", False)]
    assert batch["concurrency_limit"] == nightly["concurrency_limit"]
    assert "schedules" not in deployments()["full-pipeline"]


@pytest.mark.usefixtures("prefect_server")
def test_workers_of_other_machines_are_known_by_their_names() -> None:
    submit.ensure_pool("shared")
    with get_client(sync_client=True) as client:
        for name in ("this machine 1a2b3c", "another 4d5e6f"):
            client.send_worker_heartbeat("shared", name)
    assert submit.other_workers("shared", "this machine 1a2b3c") == ["another 4d5e6f"]


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize(
    "name",
    [
        "full-pipeline",
        "full-ranking",
        "rerank-table",
        "full-ranking-table",
        "mechanisms",
        "paper",
        "tau-beta",
        "nightly",
        "batch",
    ],
)
def test_a_deployment_shows_its_config_as_a_typed_form(name: str) -> None:
    """What the Prefect server keeps of the parameters when the entrypoint of prefect.yaml is deployed."""
    flow = import_object(deployments()[name]["entrypoint"])
    PipelineConfig.model_validate(deployments()[name]["parameters"]["config"])
    with get_client(sync_client=True) as client:
        flow.to_deployment(name=name, work_pool_name=None).apply()
        result = client.read_deployment_by_name(f"{flow.name}/{name}")
    schema = result.parameter_openapi_schema
    assert schema["required"] == ["config"]
    definitions = schema["definitions"]
    config = definitions[schema["properties"]["config"]["$ref"].rsplit("/", 1)[1]]["properties"]
    assert config["preset"]["enum"] == list(PRESETS)
    assert config["format"]["anyOf"][0]["enum"] == ["amazon", "kuaisar", "logs"]
    kinds = [one.get("$ref", one.get("type")).rsplit("/", 1)[-1] for one in config["source"]["anyOf"]]
    assert kinds == ["string", "array", "GeneratedSource", "FolderSource", "DownloadSource", "S3Source", "SqlSource"]
    assert config["name"]["description"].startswith("Name of the data in tables, runs")
    assert "default" not in config["name"], "the form would call all data by the demo's name"
    sections = config["overrides"]["patternProperties"]
    assert sections["^train$"] == {"$ref": "#/definitions/TrainConfig"}
    train = definitions["TrainConfig"]["properties"]
    assert (train["checkpoint_every"]["type"], train["checkpoint_every"]["default"]) == ("integer", 100)
    assert "Optimizer steps" in train["checkpoint_every"]["description"]
    assert "train" not in config, "the form would unfold every section"
