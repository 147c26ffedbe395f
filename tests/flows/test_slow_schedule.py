"""``retrain/nightly`` on a real server: the schedule starts it, it promotes a model, and never runs beside itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from installed import START_AND_RUN, Installed, wait_for
from tiny_run import TINY

from flows.local.installation import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture
def installed(tmp_path: Path) -> Iterator[Installed]:
    installed = Installed(tmp_path)
    status, out, err = installed.command("up")
    assert status == 0, out + err
    yield installed
    installed.command("down")


def test_the_schedule_retrains_and_promotes_one_run_at_a_time(installed: Installed, tmp_path: Path) -> None:
    deploy(installed, tmp_path, active=True)
    first = wait_for(lambda: ended(installed, scheduled=True), START_AND_RUN, "a scheduled run")[0]
    deploy(installed, tmp_path, active=False)
    assert first["state_name"] == "Completed", first["state"]["message"]
    assert installed.mlflow.get_model_version_by_alias("gensr-tiny", "champion").version == "1"
    wait_for(lambda: not busy(installed), START_AND_RUN, "the end of what the schedule still started")

    pair = {start(installed), start(installed)}
    states = wait_for(lambda: finals(installed, pair), START_AND_RUN, "two runs started at once")
    assert sorted(states) == ["Cancelled", "Completed"]
    assert installed.mlflow.get_model_version_by_alias("gensr-tiny", "champion").version == "1"

    killed = start(installed)
    wait_for(lambda: state(installed, killed) == "Running", 120, "a run to kill")
    installed.kill_worker()
    assert installed.command("up")[0] == 0
    assert state(installed, killed) == "Crashed"
    deploy(installed, tmp_path, active=False)  # `up` has just deployed prefect.yaml as it is
    after = {start(installed)}
    assert wait_for(lambda: finals(installed, after), START_AND_RUN, "the run after the crash") == ["Completed"]


def deploy(installed: Installed, folder: Path, active: bool) -> None:
    """Deploy prefect.yaml's own retraining, on tiny data, every minute."""
    content = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))
    (nightly,) = [d for d in content["deployments"] if d["name"] == "nightly"]
    nightly["parameters"] = {"config": TINY}
    nightly["schedules"] = [nightly["schedules"][0] | {"cron": "* * * * *", "active": active}]
    file = folder / "prefect.yaml"
    file.write_text(yaml.safe_dump(content | {"deployments": [nightly]}), encoding="utf-8")
    installed.prefect("deploy", "--all", "--prefect-file", str(file))


def start(installed: Installed) -> str:
    deployment = installed.api("deployments/name/retrain/nightly")
    return str(installed.api(f"deployments/{deployment['id']}/create_flow_run", {})["id"])


def state(installed: Installed, run: str) -> str:
    return str(installed.api(f"flow_runs/{run}")["state_name"])


def ended(installed: Installed, scheduled: bool) -> list[dict[str, Any]]:
    final = ("COMPLETED", "FAILED", "CRASHED")
    runs = installed.flow_runs("retrain")
    return [r for r in runs if r["state_type"] in final and r["auto_scheduled"] is scheduled]


def busy(installed: Installed) -> bool:
    return any(r["state_type"] in ("PENDING", "RUNNING") for r in installed.flow_runs("retrain"))


def finals(installed: Installed, runs: set[str]) -> list[str]:
    """The states of these runs once all have ended."""
    result = [r for r in installed.flow_runs("retrain") if r["id"] in runs]
    over = all(r["state_type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED") for r in result)
    return [r["state_name"] for r in result] if over and len(result) == len(runs) else []
