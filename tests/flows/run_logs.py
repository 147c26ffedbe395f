"""What a flow run logged to the Prefect server, and what it shows of an expected error."""

from __future__ import annotations

import asyncio
from pathlib import Path
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
from prefect.client.schemas.objects import Log, State
from prefect.client.schemas.sorting import LogSort
from prefect.logging.handlers import APILogHandler

from tasks.core.error_log import BLOCK


def logs_of(flow_run_id: UUID) -> list[Log]:
    """All records of a flow run and its tasks, oldest first."""
    asyncio.run(APILogHandler.aflush())
    with get_client(sync_client=True) as client:
        return client.read_logs(
            log_filter=LogFilter(flow_run_id=LogFilterFlowRunId(any_=[flow_run_id])), sort=LogSort.TIMESTAMP_ASC
        )


def check_block(home: Path, flow_run_id: UUID, *parts: str) -> str:
    """One block of at most five lines with these parts, no trace anywhere but in the file that it names; the block."""
    logs = logs_of(flow_run_id)
    assert logs, "no log of this run reached the server"
    for log in logs:
        assert "Traceback" not in log.message, log.message
        assert len(log.message.splitlines()) <= 5, log.message
    (block,) = [log.message for log in logs if log.name.endswith(BLOCK)]
    lines = block.splitlines()
    assert lines[-1].startswith("Trace: ")
    for part in parts:
        assert part in block, block
    trace = Path(lines[-1].removeprefix("Trace: "))
    assert trace.parent == home / "logs" / "errors"
    assert str(flow_run_id) in trace.name
    text = trace.read_text(encoding="utf-8")
    assert "Traceback (most recent call last)" in text
    assert text.count(lines[0].partition(":")[0]) >= 1
    return block


def check_state(state: State, *parts: str) -> UUID:
    """A failed state with a short message; the id of its flow run."""
    assert state.is_failed()
    message = state.message or ""
    assert len(message.splitlines()) <= 5
    assert "Traceback" not in message
    for part in parts:
        assert part in message, message
    flow_run_id = state.state_details.flow_run_id
    assert flow_run_id is not None
    return flow_run_id
