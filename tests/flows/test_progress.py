"""How far a run is, as ``make run`` reads it from the Prefect server."""

from __future__ import annotations

import uuid

import pytest
from prefect import flow
from prefect.artifacts import create_progress_artifact, update_progress_artifact

from flows.local.submit import Messages, StageProgress

pytestmark = pytest.mark.usefixtures("prefect_server")


@flow
def stages(*shares: float) -> None:
    """One finished stage, then one that tells of itself as often as there are shares."""
    create_progress_artifact(100.0, key="progress-pretrain", description="epoch 40")
    artifact = create_progress_artifact(0.0, key="progress-finetune-gensr", description="begun")
    for share in shares:
        update_progress_artifact(artifact, share, description=f"loss at {share:.0f}")  # type: ignore[arg-type]


def test_the_stage_that_told_of_itself_last_until_it_is_done() -> None:
    running, done = f"run-{uuid.uuid4()}", f"run-{uuid.uuid4()}"
    stages.with_options(flow_run_name=running)(10.0, 40.0)
    stages.with_options(flow_run_name=done)(100.0)
    messages = Messages(running)
    assert messages.progress() is None, "no run is known yet"
    messages.new()
    assert messages.progress() == StageProgress("finetune-gensr", 40.0, "loss at 40")
    ended = Messages(done)
    ended.new()
    assert ended.progress() is None
