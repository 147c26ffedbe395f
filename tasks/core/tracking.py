"""All logging to MLflow: a parent run per flow run, nested runs, metrics in batches, artifacts.

Run ids are passed explicitly: inside Prefect's tasks ``mlflow.active_run()`` knows no run.
"""

from __future__ import annotations

import functools
import getpass
import logging
import math
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.context import FlowRunContext, TaskRunContext

import gensr_model
from gensr_model.config.base import SPLITS, Split, digest
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.runtime.progress import TerminalReport
from tasks.core.datasets import dataset_inputs
from tasks.core.run_log import PROGRESS, error_context, run_logger
from tasks.core.state_dir import state_dir, tracking_uri

EXPERIMENT = "gensr"
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")  # MLflow imports GitPython, which warns where git is missing
_PER_CALL = 1_000  # MLflow's limit of metrics
_MAX_WAITING = 20_000  # most metrics that wait while MLflow cannot be reached
_AFTER_FAILURE = 600.0  # seconds: one try, with MLflow's own retries, stops training for minutes
_FLUSH_EVERY = 5.0  # seconds; one batched call costs what one metric costs
_PROGRESS_EVERY = 3.0
_LOG_EVERY = 20.0
_SYSTEM_EVERY = 5.0


def run_page(server: str, run: dict[str, str]) -> str:
    """The page of a run in MLflow's server. ``run`` is the summary's entry of the run."""
    return f"{server}/#/experiments/{run['experiment_id']}/runs/{run['run_id']}"


class Tracked(NamedTuple):
    """A run of ours in MLflow."""

    client: MlflowClient
    experiment_id: str
    run_id: str

    @staticmethod
    def reader() -> Tracked:
        """No run: it reads what MLflow has, such as registered models."""
        return Tracked(MlflowClient(tracking_uri()), "", "")

    @staticmethod
    def existing(run_id: str) -> Tracked:
        client = MlflowClient(tracking_uri())
        return Tracked(client, client.get_run(run_id).info.experiment_id, run_id)

    @contextmanager
    def child(self, name: str) -> Iterator[Tracked]:
        """A nested run, which is finished or failed at the end of its block."""
        tags = {"mlflow.parentRunId": self.run_id} | source_tags(name)
        with _run(self.client, self.experiment_id, name, tags) as run:
            yield run

    def metrics(self, values: dict[str, float], step: int = 0) -> None:
        """Log finite values in one call."""
        self.client.log_batch(self.run_id, metrics=_as_metrics(values, step))

    def tags(self, **values: str) -> None:
        self.client.log_batch(self.run_id, tags=[RunTag(k, v) for k, v in values.items()])

    def params(self, **values: object) -> None:
        self.client.log_batch(self.run_id, params=[Param(k, str(v)) for k, v in values.items()])

    def reads(self, dataset: str, prepared: Path, splits: Sequence[Split] = SPLITS) -> None:
        """Log splits of the prepared dataset as what the run reads, for MLflow's column *Datasets*."""
        self.client.log_inputs(self.run_id, dataset_inputs(dataset, prepared, splits))

    def artifacts(self, folder: Path, patterns: tuple[str, ...]) -> None:
        """Log the files of ``folder`` that match, each under its own relative folder."""
        for path in sorted({p for pattern in patterns for p in folder.glob(pattern) if p.is_file()}):
            inside = path.parent.relative_to(folder).as_posix()
            self.client.log_artifact(self.run_id, str(path), None if inside == "." else inside)

    def table(self, name: str, rows: list[dict[str, Any]]) -> None:
        """Log rows with equal keys as a table that MLflow shows. ``name`` ends in ``.json``."""
        self.client.log_table(self.run_id, {key: [row[key] for row in rows] for key in rows[0]}, name)

    def report(self, name: str) -> RunReport:
        return RunReport(self, name)

    @contextmanager
    def system_metrics(self) -> Iterator[None]:
        """While the block runs, log the machine's load every few seconds: CPU, memory, disk, network, GPU.

        GPU metrics need the package ``nvidia-ml-py``. A short block logs nothing.
        """
        logging.getLogger("mlflow.system_metrics").setLevel(logging.WARNING)  # it logs its start and end
        monitor = SystemMetricsMonitor(self.run_id, sampling_interval=_SYSTEM_EVERY, tracking_uri=tracking_uri())
        monitor.start()
        try:
            yield
        finally:
            monitor.finish()


@contextmanager
def plain_run(name: str, flow: str, tags: dict[str, str]) -> Iterator[Tracked]:
    """An MLflow run with these tags, finished or failed at the end of its block. ``flow`` is what MLflow names as its
    source.
    """
    client = MlflowClient(tracking_uri())
    with _run(client, experiment_id(client), name, {"flow": flow} | source_tags(flow) | tags) as run:
        yield run


@contextmanager
def parent_run(config: PipelineConfig, flow: str, flow_run_id: str) -> Iterator[Tracked]:
    """The MLflow run of a whole flow run, with tags that suffice to repeat it."""
    tags = {
        "dataset": config.name,
        "format": config.format,
        "preset": config.preset,
        "seed": str(config.seed),
        "config_hash": digest(config),
        "config": config.model_dump_json(),
        "prefect_flow_run_id": flow_run_id,
    }
    with plain_run(f"{config.name}-{flow_run_id[:8]}", flow, tags) as run:
        params = [Param(k, str(v)[:500]) for k, v in _leaves(config.model_dump(mode="json"))]
        for start in range(0, len(params), 100):  # MLflow's limit per call
            run.client.log_batch(run.run_id, params=params[start : start + 100])
        run.client.log_dict(run.run_id, config.model_dump(mode="json"), "config.json")
        yield run


def experiment_id(client: MlflowClient) -> str:
    """The experiment, made at first use. This also initialises a new SQLite file before parallel work."""
    known = client.get_experiment_by_name(EXPERIMENT)
    if known:
        return str(known.experiment_id)
    local = tracking_uri().startswith("sqlite")
    place = None
    if local:
        state_dir().mlflow_artifacts.mkdir(parents=True, exist_ok=True)
        place = state_dir().mlflow_artifacts.as_uri()
    try:
        return str(client.create_experiment(EXPERIMENT, artifact_location=place))
    except MlflowException:
        known = client.get_experiment_by_name(EXPERIMENT)  # another process was first
        if known is None:
            raise
        return str(known.experiment_id)


def end_runs(ended: Callable[[str], bool]) -> int:
    """Mark unfinished runs whose flow run has ended as KILLED, children first. Returns the number of flow runs.

    ``ended`` takes the id of a Prefect flow run and returns whether it has ended.
    """
    client = MlflowClient(tracking_uri())
    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is None:
        return 0
    places = [experiment.experiment_id]
    unfinished = "attributes.status = 'RUNNING'"
    parents = client.search_runs(places, f"{unfinished} and tags.prefect_flow_run_id LIKE '%'")
    lost = [p for p in parents if ended(p.data.tags["prefect_flow_run_id"])]

    def end(run_id: str) -> None:
        """Those nested in it first: a study's stages are nested in its trials."""
        for child in client.search_runs(places, f"{unfinished} and tags.`mlflow.parentRunId` = '{run_id}'"):
            end(child.info.run_id)
        client.set_terminated(run_id, "KILLED")

    for parent in lost:
        end(parent.info.run_id)
    return len(lost)


@functools.cache
def code_tags() -> dict[str, str]:
    """Version, commit and user of this process, by the names that MLflow's pages read."""
    tags = {"gensr_version": metadata.version("gensr"), "mlflow.source.type": "JOB"}
    if commit := git_commit():
        head, _, dirty = commit.partition("-")
        tags |= {"mlflow.source.git.commit": head, "mlflow.source.git.dirty": str(bool(dirty)), "git_commit": commit}
    with suppress(OSError, KeyError, ImportError):  # a container's user may have no name
        tags["mlflow.user"] = getpass.getuser()
    return tags


def source_tags(name: str) -> dict[str, str]:
    """What MLflow shows as the source of a run or a model: ``name`` with the package's version, and the git commit.

    Outside a git checkout the version is all.
    """
    tags = code_tags()
    return tags | {"mlflow.source.name": f"{name} (gensr {tags['gensr_version']})"}


def git_commit() -> str | None:
    """HEAD of the checkout that the code runs from, marked where it differs; None outside a checkout."""
    root = Path(gensr_model.__file__).resolve().parent.parent
    try:
        head = subprocess.run(
            ["git", "-C", root, "rev-parse", "HEAD"], capture_output=True, text=True, check=True, encoding="utf-8"
        )
        ours = subprocess.run(
            ["git", "-C", root, "ls-files", "gensr_model"], capture_output=True, text=True, encoding="utf-8"
        )
        dirty = subprocess.run(
            ["git", "-C", root, "status", "--porcelain"], capture_output=True, text=True, encoding="utf-8"
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    if not ours.stdout:  # installed into an environment inside another checkout
        return None
    return head.stdout.strip() + ("-dirty" if dirty.stdout.strip() else "")


def progress_key(stage: str) -> str:
    """The key of a stage's progress artifact, in letters that Prefect allows."""
    return re.sub("[^a-z0-9]+", "-", f"progress-{stage}".lower())


class RunReport:
    """gensr_model's Report: step metrics to MLflow in batches, progress to Prefect's artifact and to a terminal."""

    def __init__(self, run: Tracked, name: str) -> None:
        self.run, self.name = run, name
        self._waiting: list[Metric] = []
        self._flushed, self._pause = time.monotonic(), _FLUSH_EVERY
        self._artifact: UUID | None = None
        self._shown = self._logged = -math.inf
        self._in_run = (TaskRunContext.get() or FlowRunContext.get()) is not None
        self._bar = TerminalReport(name)

    def metrics(self, values: dict[str, float], step: int) -> None:
        self._waiting += _as_metrics(values, step)
        since = time.monotonic() - self._flushed
        if since > self._pause or (len(self._waiting) >= 500 and self._pause == _FLUSH_EVERY):
            self.flush()

    def progress(self, done: int, total: int, note: str) -> None:
        self._bar.progress(done, total, note)
        now = time.monotonic()
        if not self._in_run or (done < total and now - self._shown < _PROGRESS_EVERY):
            return
        self._shown = now
        try:
            self._show(100.0 * done / max(total, 1), note)
        except Exception as error:  # a failed progress display must not end hours of training
            run_logger().warning("progress is not shown: %s: %s", type(error).__name__, error)
        if now - self._logged > _LOG_EVERY:
            self._logged = now
            run_logger(PROGRESS).info("%s: %d of %d (%s)", self.name, done, total, note)

    def _show(self, share: float, note: str) -> None:
        if self._artifact is None:
            key = progress_key(self.name)
            self._artifact = create_progress_artifact(share, key=key, description=note)  # type: ignore[assignment]
        else:
            update_progress_artifact(self._artifact, share, description=note)

    def flush(self) -> None:
        """Send waiting metrics. Metrics that MLflow refuses wait for the next try, up to a limit."""
        self._pause = _FLUSH_EVERY
        try:
            while self._waiting:
                self.run.client.log_batch(self.run.run_id, metrics=self._waiting[:_PER_CALL])
                del self._waiting[:_PER_CALL]
        except (MlflowException, OSError) as error:
            self._pause = _AFTER_FAILURE
            lost = max(0, len(self._waiting) - _MAX_WAITING)
            del self._waiting[:lost]
            run_logger().warning(
                "MLflow takes no metrics now (%s: %s); %d wait for another try, %d are lost",
                type(error).__name__, str(error).partition("\n")[0], len(self._waiting), lost,
            )  # fmt: skip
        self._flushed = time.monotonic()

    def close(self) -> None:
        """Send waiting metrics, and clear the terminal."""
        self._bar.close()
        self.flush()
        if self._waiting:
            run_logger().warning("%d metrics of %s are lost: MLflow did not take them", len(self._waiting), self.name)


@contextmanager
def _run(client: MlflowClient, experiment: str, name: str, tags: dict[str, str]) -> Iterator[Tracked]:
    run_id = client.create_run(experiment, run_name=name, tags=tags).info.run_id
    try:
        yield Tracked(client, experiment, run_id)
    except BaseException as error:
        with error_context(error):
            client.set_tag(run_id, "error", f"{type(error).__name__}: {error}"[:4000])
            client.set_terminated(run_id, "FAILED" if isinstance(error, Exception) else "KILLED")
        raise
    client.set_terminated(run_id, "FINISHED")


def _as_metrics(values: dict[str, float], step: int) -> list[Metric]:
    now = int(time.time() * 1000)
    return [Metric(k, float(v), now, step) for k, v in values.items() if math.isfinite(v)]


def _leaves(tree: dict[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
