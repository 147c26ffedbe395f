"""Requests of the local commands to the Prefect server."""

from __future__ import annotations

from logging import ERROR
from typing import NamedTuple
from uuid import UUID

from httpx import HTTPError
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    ArtifactFilterKey,
    ArtifactFilterType,
    FlowRunFilter,
    FlowRunFilterName,
    FlowRunFilterState,
    FlowRunFilterStateType,
    LogFilter,
    LogFilterFlowRunId,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import FlowRun, Log, StateType, WorkerStatus
from prefect.client.schemas.sorting import ArtifactSort, LogSort
from prefect.exceptions import ObjectNotFound
from prefect.states import Crashed

from tasks.core import tracking
from tasks.core.error_log import BLOCK
from tasks.core.run_log import LOGGER, STARTED


class Outcome(NamedTuple):
    """How a flow run ended."""

    id: str
    completed: bool
    state: str
    message: str


def ensure_pool(name: str) -> None:
    """Create the process work pool unless it exists."""
    with get_client(sync_client=True) as client:
        try:
            client.read_work_pool(name)
        except ObjectNotFound:
            client.create_work_pool(WorkPoolCreate(name=name, type="process"))


def crash_orphans(pool: str) -> int:
    """Mark the pool's running flow runs as crashed. Call it only when no worker is up, so that none can be running.

    A killed worker reports nothing, so its runs would stay Running for ever, and ``retrain/nightly``, which runs one at
    a time, would never run again.
    """
    with get_client(sync_client=True) as client:
        lost = _unfinished(client, pool)
        for run in lost:
            client.set_flow_run_state(run.id, Crashed(message="The worker of this run was killed."), force=True)
    return len(lost)


def other_workers(pool: str, name: str) -> list[str]:
    """The names of the pool's workers that are up, other than ``name``: of other machines, for instance."""
    with get_client(sync_client=True) as client:
        workers = client.read_workers_for_work_pool(pool)
    return [worker.name for worker in workers if worker.name != name and worker.status == WorkerStatus.ONLINE]


def _unfinished(client: SyncPrefectClient, pool: str) -> list[FlowRun]:
    """The pool's unfinished flow runs that a worker has started."""
    states = [StateType.RUNNING, StateType.PENDING, StateType.CANCELLING]
    return client.read_flow_runs(
        flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=states))),
        work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[pool])),
    )


def unfinished_lines(pool: str) -> list[str]:
    """A line for each of the pool's flow runs that has begun and not ended."""
    try:
        with get_client(sync_client=True) as client:
            runs = _unfinished(client, pool)
    except HTTPError:
        return ["unknown, the Prefect server does not answer yet"]
    return [
        f"{run.name}, {run.state_name}" + (f" since {run.start_time.astimezone():%H:%M}" if run.start_time else "")
        for run in runs
    ]


def outcome(name: str) -> Outcome | None:
    """The state of the flow run with this name. None where there is none."""
    with get_client(sync_client=True) as client:
        run = _run_of(client, name)
    if run is None or run.state is None:
        return None
    state = run.state
    return Outcome(str(run.id), state.is_completed(), state.name or state.type.value, state.message or "no message")


def _run_of(client: SyncPrefectClient, name: str) -> FlowRun | None:
    runs = client.read_flow_runs(flow_run_filter=FlowRunFilter(name=FlowRunFilterName(any_=[name])), limit=1)
    return runs[0] if runs else None


class StageProgress(NamedTuple):
    """Progress of the current stage."""

    stage: str
    percent: float = 0.0
    note: str = ""


class Line(NamedTuple):
    """A line for people. ``starts`` is True where a stage begins to build."""

    text: str
    starts: bool = False


class Messages:
    """New log lines of a flow run about its stages, by the run's name."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._id: UUID | None = None
        self._read = 0
        self._running: dict[str, str] = {}  # key of the progress -> stage, in order of start

    def new(self) -> list[Line]:
        """The lines since the last call. None before the run exists, or while the server is too busy to answer."""
        try:
            return self._new()
        except HTTPError:
            return []  # the next call returns them

    def progress(self) -> StageProgress | None:
        """Progress of the current stage that reported last, or that started last where none reported.

        None where all are done. Only stages in the lines of ``new`` count.
        """
        if self._id is None or not self._running:
            return None
        latest = ArtifactFilter(
            flow_run_id=ArtifactFilterFlowRunId(any_=[self._id]),
            type=ArtifactFilterType(any_=["progress"]),
            key=ArtifactFilterKey(any_=list(self._running)),
        )
        try:
            with get_client(sync_client=True) as client:
                artifacts = client.read_artifacts(artifact_filter=latest, sort=ArtifactSort.UPDATED_DESC, limit=1)
        except HTTPError:
            return None
        if not artifacts:
            return StageProgress(list(self._running.values())[-1])
        (artifact,) = artifacts
        return StageProgress(self._running[artifact.key or ""], float(str(artifact.data)), artifact.description or "")

    def _new(self) -> list[Line]:
        with get_client(sync_client=True) as client:
            if self._id is None:
                run = _run_of(client, self.name)
                if run is None:
                    return []
                self._id = run.id
            logs = client.read_logs(
                log_filter=LogFilter(flow_run_id=LogFilterFlowRunId(any_=[self._id])),
                offset=self._read,
                sort=LogSort.TIMESTAMP_ASC,
            )
        self._read += len(logs)
        return [self._line(log) for log in logs if _is_for_people(log)]

    def _line(self, log: Log) -> Line:
        stage, _, text = log.message.partition(": ")
        starts, key = text == STARTED, tracking.progress_key(stage)
        self._running.pop(key, None)  # any other line of a stage means that it has ended
        if starts:
            self._running[key] = stage
        return Line(f"{log.timestamp.astimezone():%H:%M:%S}  {log.message}", starts)


def _is_for_people(log: Log) -> bool:
    """Our own lines and the traces of unexpected errors. The block of an expected error is shown last, separately."""
    if log.name.split(".")[-1] == LOGGER:
        return True
    repeated = log.name.endswith(BLOCK) or log.message.startswith("Finished in state")
    return log.level >= ERROR and not repeated


def end_tracking_of_ended_runs() -> None:
    """Close the MLflow runs of killed flow runs, which could not close them."""
    with get_client(sync_client=True) as client:

        def ended(flow_run_id: str) -> bool:
            try:
                state = client.read_flow_run(UUID(flow_run_id)).state
            except ObjectNotFound:
                return False  # a run of another Prefect server, whose state is unknown
            return state is not None and state.is_final()

        tracking.end_runs(ended)
