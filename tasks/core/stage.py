"""A stage: a function that fills a folder, run as a Prefect task and found again by what went into it.

The key of a stage's output is a digest of its name, the source files that it depends on, the keys of its inputs and
the part of the config that it reads. The folder is ``store/<stage>/<key>``; ``stage.json`` in it, written last, lists
its files. A folder is used again when the key fits and every listed file is still there with its size, whatever
Prefect's cache says; otherwise it is built anew, aside, and renamed when complete. One process at a time builds a key.
"""

from __future__ import annotations

import functools
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, cast

from filelock import FileLock
from prefect import State, Task, task
from prefect.context import TaskRunContext

from gensr_model.config.base import digest
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.runtime.malloc import give_back_freed_memory, keep_freed_memory
from gensr_model.runtime.progress import NullReport, Report
from gensr_model.runtime.stage_folder import atomic_dir, is_complete, read_record, write_manifest
from tasks.core.code_version import code_digest, source_of
from tasks.core.isolated_process import run_in_subprocess
from tasks.core.peak_memory import PeakMemory
from tasks.core.state_dir import StateDir, state_dir
from tasks.core.tracking import Tracked, error_context, run_logger
from tasks.core.work import Builder, Work


class StageResult(NamedTuple):
    """The output of a stage: where it is, what it is the digest of, and how it came about."""

    stage: str
    key: str
    path: Path
    metrics: dict[str, float]
    seconds: float  # of building, also when it was built by an earlier run
    reused: bool
    label: str = ""  # the stage and its option
    peak_bytes: int = 0  # highest memory of the process while it was built; 0 where it was not measured
    peak_gpu_bytes: int = 0
    built_on: str = ""  # the device, where it was another machine's (tasks/remote/export.py)


class Stage:
    """Call it with the tracked run, the config and the input stages.

    ``option`` names a variant (a model, a ranker). ``parallel_jobs`` runs the function in a process of its own, one
    of so many that share the cores, and adds the metric ``peak_memory_mb``; ``note`` is added to the label. Neither
    is in the key.
    """

    def __init__(
        self,
        name: str,
        build: Builder,
        code: tuple[str, ...],
        config: tuple[str, ...],
        artifacts: tuple[str, ...],
        tags: Callable[[Path], dict[str, str]],
        facts: dict[str, Any],
        unread: dict[str, tuple[str, ...]],
    ) -> None:
        self.name, self.build, self.code, self.config, self.artifacts = name, build, code, config, artifacts
        self.tags, self.facts, self.unread = tags, facts, unread
        self._source = source_of(build)
        self.__doc__ = build.__doc__
        self._task: Task[..., dict[str, Any]] = task(
            name=name,
            description=build.__doc__,
            task_run_name="{label}",
            cache_key_fn=_given_key,
            persist_result=True,
            result_serializer="json",
        )(self._run)

    def __call__(
        self,
        run: Tracked,
        config: PipelineConfig,
        *inputs: StageResult,
        option: str | None = None,
        parallel_jobs: int = 0,
        note: str = "",
    ) -> StageResult:
        key = self.key(config, *inputs, option=option)
        where = state_dir()
        label = "-".join(part for part in (self.name, option, note) if part)
        with run.child(label) as child:
            known = self._task.with_options(
                result_storage=where.results, refresh_cache=not is_complete(where.store / self.name / key)
            )
            paths = [str(i.path) for i in inputs]
            state = cast(
                State[dict[str, Any]],
                known(label, key, config, paths, option, child.run_id, parallel_jobs, return_state=True),
            )
            record = state.result() | {
                "path": where.store / self.name / key
            }  # the state folder may have moved
            found = _result(record, reused=state.name == "Cached")._replace(label=label)
            child.tags(
                stage=self.name, stage_key=key, reused=str(found.reused).lower(), **self.tags(found.path)
            )
            if found.built_on:
                child.tags(built_on=found.built_on)
            child.metrics(found.metrics | {"seconds": found.seconds} | _peaks(found))
            child.artifacts(found.path, self.artifacts)
        how = "reused, unchanged since it was built" if found.reused else "done"
        run_logger().info("%s: %s in %.1f s", label, how, found.seconds)
        return found

    def key(self, config: PipelineConfig, *inputs: StageResult, option: str | None = None) -> str:
        """Digest of everything that decides the output."""
        tree = config.model_dump(mode="json")
        for name in self.unread.get(option or "", ()):
            section, field = name.rsplit(".", 1)
            del _at(tree, section)[field]
        parts = {name: _at(tree, name) for name in self.config}
        code = [self._source, code_digest(self.code)]
        facts = [self.facts] if self.facts else []
        return digest([self.name, option, code, [i.key for i in inputs], parts, *facts], length=24)

    def _run(
        self,
        label: str,
        key: str,
        config: PipelineConfig,
        inputs: list[str],
        option: str | None,
        run_id: str,
        parallel_jobs: int = 0,
    ) -> dict[str, Any]:
        run = Tracked.existing(run_id)
        report = run.report(label)
        options = () if option is None else (option,)

        def built(work: Work) -> dict[str, float] | None:
            arguments = (config, *map(Path, inputs), *options)
            if not parallel_jobs:
                return self.build(work, *arguments)
            where = (work.out, work.checkpoints)
            return run_in_subprocess(
                self.build.__module__, self.build.__name__, where, work.report, arguments, parallel_jobs
            )

        def fill(work: Work) -> dict[str, float] | None:
            try:
                metrics = built(work)
            except Exception as error:
                with error_context(error):
                    report.close()
                    run.artifacts(work.out, self.artifacts)  # what explains it: validation results, rejects
                raise
            report.close()
            return metrics

        with run.system_metrics():
            found = build_folder(state_dir(), self.name, key, fill, report)
        return found._asdict() | {"path": str(found.path)}


def stage(
    name: str,
    *,
    code: tuple[str, ...],
    config: tuple[str, ...] = (),
    artifacts: tuple[str, ...] = (),
    tags: Callable[[Path], dict[str, str]] = lambda _: {},
    facts: dict[str, Any] | None = None,
    unread: dict[str, tuple[str, ...]] | None = None,
) -> Callable[[Builder], Stage]:
    """Make a stage of a function.

    Args:
        code: files and folders, from the root of the sources, whose change makes old output useless; the modules
            that they import count too.
        config: the fields of PipelineConfig that the function reads (``train``, ``analysis.gradient_every``).
        artifacts: glob patterns of the files that MLflow gets.
        tags: what MLflow's run says of the finished folder in words, also when it is used again.
        facts: what else decides the output, as JSON.
        unread: of ``config``, what an option does not read (``train.epochs``); without options, under ``""``.
    """
    return lambda build: Stage(name, build, code, config, artifacts, tags, facts or {}, unread or {})


def build_folder(
    where: StateDir,
    name: str,
    key: str,
    fill: Callable[[Work], dict[str, float] | None],
    report: Report | None = None,
) -> StageResult:
    """Fill ``store/<name>/<key>`` unless it is complete already; all of it appears, or nothing."""
    folder = where.store / name / key
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _lock(folder):
        if is_complete(folder):
            return _result(read_record(folder) | {"path": str(folder)}, reused=True)
        checkpoints = where.checkpoints / f"{name}-{key}"
        try:
            keep_freed_memory()
            with atomic_dir(folder) as aside:
                started = time.monotonic()
                with PeakMemory() as peak:
                    metrics = fill(Work(aside, checkpoints, report or NullReport())) or {}
                seconds = time.monotonic() - started
                record = write_manifest(aside, name, key, metrics, seconds, peak.of_work(metrics))
        finally:
            give_back_freed_memory()
        shutil.rmtree(checkpoints, ignore_errors=True)
    return _result(record | {"path": str(folder)}, reused=False)


def adopt(where: StateDir, name: str, key: str, folder: Path) -> bool:
    """Take a finished folder that another machine made into the store; False where it is there already."""
    target = where.store / name / key
    target.parent.mkdir(parents=True, exist_ok=True)
    with _lock(target):
        if is_complete(target):
            return False
        with atomic_dir(target) as aside:
            shutil.copytree(folder, aside, dirs_exist_ok=True)
    return True


def _at(tree: dict[str, Any], name: str) -> Any:
    return functools.reduce(lambda node, step: node[step], name.split("."), tree)


def _given_key(context: TaskRunContext, parameters: dict[str, Any]) -> str:
    del context
    return str(parameters["key"])


def _result(record: dict[str, Any], reused: bool) -> StageResult:
    metrics = {name: float(value) for name, value in record["metrics"].items()}
    reused = reused or bool(record.get("reused"))
    return StageResult(
        record["stage"],
        record["key"],
        Path(record["path"]),
        metrics,
        record["seconds"],
        reused,
        peak_bytes=record.get("peak_bytes", 0),
        peak_gpu_bytes=record.get("peak_gpu_bytes", 0),
        built_on=record.get("built_on", ""),
    )


def _peaks(found: StageResult) -> dict[str, float]:
    """The memory that was measured, for MLflow."""
    peaks = {"peak_bytes": found.peak_bytes, "peak_gpu_bytes": found.peak_gpu_bytes}
    return {name: float(value) for name, value in peaks.items() if value}


def _lock(folder: Path) -> FileLock:
    """The key's lock; the system lets go of it when the holder dies."""
    return FileLock(folder.with_name(f"{folder.name}.lock"))
