"""A stage is a function that fills a folder, run as a Prefect task and reused for the same inputs.

The key of a stage's output is a digest of its name and option, the content of its inputs, the definitions that its
function runs, and the config fields that it declares. The folder is ``store/<stage>/<key>``. Its manifest
``stage.json``, written last, lists the files. A folder is reused when the key fits and every listed file exists with
its size, whatever Prefect's cache holds. Otherwise the stage builds the folder anew, under a temporary name, and
renames it when complete. One process at a time builds a key.

An input counts by the names and bytes of its files. Where a stage gives the same bytes after a change of its code or
config, later stages keep their keys and are not rebuilt.
"""

from __future__ import annotations

import functools
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Concatenate, NamedTuple, ParamSpec, cast

from filelock import FileLock
from prefect import State, Task, task
from prefect.context import TaskRunContext

from gensr_model.config.base import SPLITS, Split, digest, restricted
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.runtime.files import write_json
from gensr_model.runtime.malloc import give_back_freed_memory, keep_freed_memory
from gensr_model.runtime.progress import NullReport, Report
from gensr_model.runtime.stage_folder import (
    RECORD,
    atomic_dir,
    content_digest,
    is_complete,
    read_record,
    write_manifest,
)
from tasks.core.code_version import Code, definitions_of, entry_code, names_of
from tasks.core.dataset_format import place_of
from tasks.core.peak_memory import PeakMemory
from tasks.core.run_log import STARTED, error_context, run_logger
from tasks.core.state_dir import StateDir, state_dir
from tasks.core.work import Builder, Work

if TYPE_CHECKING:
    from tasks.core.tracking import Tracked

PREPARED = "prepare"  # the stage that writes the prepared dataset
HOW_IT_RUNS = ("train.processes", "train.accelerate")  # fields that change no byte of any output, so they are in no key
Facts = Callable[[PipelineConfig], dict[str, Any]]


class StageResult(NamedTuple):
    """The output of a stage: its folder, its key, and how it was built."""

    stage: str
    key: str  # digest of all inputs
    path: Path
    metrics: dict[str, float]
    seconds: float  # duration of the build, also where an earlier run built it
    reused: bool
    label: str = ""  # the stage and its option
    peak_bytes: int = 0  # peak memory of the building process; 0 where it was not measured
    peak_gpu_bytes: int = 0
    built_on: str = ""  # the device, where it was another machine's (tasks/remote/export.py)
    content: str = ""  # digest of its files; empty where the key is that digest, or nothing is built yet


class Stage:
    """A function as a stage, by ``@stage(name, ...)``. Call it with the tracked run, the config and the input stages.

    ``option`` names a variant (a model, a ranker). ``parallel_jobs`` runs the function in a process of its own, one of
    so many that share the cores, and adds the metric ``peak_memory_mb``. ``note`` is added to the label. The last two
    are not in the key.

    The key holds the definitions that the function names, and those that they name (``tasks.core.definitions``).

    Args:
        config: the fields of PipelineConfig that decide the output (``train``, ``analysis.gradient_every``). The
            function can read no others.
        resources: fields that the function may read and that change no byte of the output.
        artifacts: glob patterns of the files for MLflow.
        tags: MLflow tags that describe the finished folder in words, also when it is reused.
        facts: further JSON that decides the output, from the config.
        unread: fields of ``config`` that an option does not read (``train.epochs``); without options, under ``""``.
        code: code that the function runs without naming it: functions, classes, or names for ``definitions.walk``.
        skip: code that the function names and that an option, or a data format, never runs; under ``""`` code that only
            looks up the ``code`` by name.
        format_parts: the parts of a format's entry that the function runs (``reading``, ``preparing.tables``).
        splits: what the function reads of the prepared dataset, for MLflow's dataset inputs.
        trains: whether the function trains with the trainer, which ``train.processes`` may share out.
    """

    def __init__(
        self,
        name: str,
        build: Builder,
        *,
        config: tuple[str, ...] = (),
        resources: tuple[str, ...] = (),
        artifacts: tuple[str, ...] = (),
        tags: Callable[[Path], dict[str, str]] = lambda _: {},
        facts: Facts = lambda _: {},
        unread: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
        code: Code = (),
        skip: Mapping[str, Code] = MappingProxyType({}),
        format_parts: tuple[str, ...] = (),
        splits: tuple[Split, ...] = SPLITS,
        trains: bool = False,
    ) -> None:
        self.splits, self.trains = splits, trains
        self.name, self.build, self.config, self.resources = name, build, config, resources
        self.artifacts, self.tags, self.facts, self.unread, self.format_parts = (
            artifacts, tags, facts, unread, format_parts
        )  # fmt: skip
        self.code, self.skip = names_of(code), {choice: names_of(value) for choice, value in skip.items()}
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
            for given in inputs:
                if given.stage == PREPARED:
                    child.reads(config.name, given.path, self.splits)
            known = self._task.with_options(
                result_storage=where.results, refresh_cache=not is_complete(where.store / self.name / key)
            )
            paths = [str(i.path) for i in inputs]
            state = cast(
                State[dict[str, Any]],
                known(label, key, config, paths, option, child.run_id, parallel_jobs, return_state=True),
            )
            record = state.result() | {"path": where.store / self.name / key}  # the state folder may have moved
            result = _result(record, reused=state.name == "Cached")._replace(label=label)
            child.tags(stage=self.name, stage_key=key, reused=str(result.reused).lower(), **self.tags(result.path))
            if result.built_on:
                child.tags(built_on=result.built_on)
            child.metrics(result.metrics | {"seconds": result.seconds} | _peaks(result))
            child.artifacts(result.path, self.artifacts)
        how = "reused, unchanged since it was built" if result.reused else "done"
        run_logger().info("%s: %s in %.1f s", label, how, result.seconds)
        return result

    def key(self, config: PipelineConfig, *inputs: StageResult, option: str | None = None) -> str:
        """Digest of everything that decides the output."""
        tree = config.model_dump(mode="json")
        for name in (*HOW_IT_RUNS, *self.unread.get(option or "", ())):
            section, field = name.rsplit(".", 1)
            del _at(tree, section)[field]
        parts = {name: _at(tree, name) for name in self.config}
        content = [i.content or i.key for i in inputs]
        code = self.definitions(config, option)
        return digest([self.name, option, code, content, parts, self.facts(config)], length=24)

    def definitions(self, config: PipelineConfig, option: str | None = None) -> dict[str, str]:
        """The definitions that the function runs with an option, for data of the config's format, with their
        digests.
        """
        choices = ("", option or "", config.format)
        skip = frozenset(name for choice in choices for name in self.skip.get(choice, ()))
        ours, outside = entry_code(place_of(config.format), self.format_parts) if self.format_parts else ((), {})
        return definitions_of(self.build, (*self.code, *ours), skip) | outside

    def view(self, config: PipelineConfig, option: str | None = None) -> PipelineConfig:
        """The config that the function gets. Reading an undeclared field raises UndeclaredField."""
        return restricted(config, **self.view_of(option))

    def view_of(self, option: str | None = None) -> dict[str, Any]:
        """The arguments of ``restricted`` for ``view``."""
        left_out = (*HOW_IT_RUNS, *self.unread.get(option or "", ()))
        reader = f"the stage {self.name!r}"
        return {"fields": (*self.config, *self.resources), "left_out": left_out, "reader": reader}

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
        from tasks.core.tracking import Tracked  # MLflow: seconds

        run = Tracked.existing(run_id)
        run_logger().info("%s: %s", label, STARTED)
        report = run.report(label)
        options = () if option is None else (option,)

        def built(work: Work) -> dict[str, float] | None:
            paths = tuple(map(Path, inputs))
            if self.trains and (config.train.processes != 1 or config.train.accelerate):
                from tasks.core.launched_stage import run_together  # torch: seconds

                if (metrics := run_together(self, work, config, paths, option, parallel_jobs)) is not None:
                    return metrics
            arguments = (self.view(config, option), *paths, *options)
            if not parallel_jobs:
                return self.build(work, *arguments)
            from tasks.core.isolated_process import run_in_subprocess  # torch: seconds

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
                    run.artifacts(work.out, self.artifacts)  # files that explain the error: validation results, rejects
                raise
            report.close()
            return metrics

        with run.system_metrics():
            result = build_folder(state_dir(), self.name, key, fill, report)
        return result._asdict() | {"path": str(result.path)}


P = ParamSpec("P")


def _decorator(
    make: Callable[Concatenate[str, Builder, P], Stage],
) -> Callable[Concatenate[str, P], Callable[[Builder], Stage]]:
    return lambda name, *args, **declared: lambda build: make(name, build, *args, **declared)


stage = _decorator(Stage)  # ``@stage("name", config=...)``: it has the arguments of ``Stage``


def build_folder(
    where: StateDir, name: str, key: str, fill: Callable[[Work], dict[str, float] | None], report: Report | None = None
) -> StageResult:
    """Fill ``store/<name>/<key>`` unless it is complete. The whole folder appears, or nothing."""
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
                record = write_manifest(aside, name, key, metrics, seconds, peak.work_peak(metrics))
        finally:
            give_back_freed_memory()
        shutil.rmtree(checkpoints, ignore_errors=True)
    return _result(record | {"path": str(folder)}, reused=False)


def adopt(where: StateDir, name: str, key: str, folder: Path) -> bool:
    """Move a finished folder of another machine into the store, under its key here.

    Returns False where the store already has it.
    """
    target = where.store / name / key
    target.parent.mkdir(parents=True, exist_ok=True)
    with _lock(target):
        if is_complete(target):
            return False
        with atomic_dir(target) as aside:
            shutil.copytree(folder, aside, dirs_exist_ok=True)
            write_json(aside / RECORD, read_record(folder) | {"key": key})
    return True


def stored(where: StateDir, name: str, key: str) -> StageResult | None:
    """The store's result for a key. None where there is no complete folder."""
    folder = where.store / name / key
    return _result(read_record(folder) | {"path": folder}, reused=True) if is_complete(folder) else None


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
        content=record.get("content") or content_digest(record),
    )


def _peaks(result: StageResult) -> dict[str, float]:
    """The measured memory, for MLflow."""
    peaks = {"peak_bytes": result.peak_bytes, "peak_gpu_bytes": result.peak_gpu_bytes}
    return {name: float(value) for name, value in peaks.items() if value}


def _lock(folder: Path) -> FileLock:
    """The key's lock. The system releases it when the holder dies."""
    return FileLock(folder.with_name(f"{folder.name}.lock"))
