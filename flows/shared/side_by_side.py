"""Runs the trials of a study, each as a Prefect task, as many in parallel as the config allows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from gensr_model.errors import TrainingError


class Named(Protocol):
    """A trial with a name."""

    @property
    def name(self) -> str: ...


Trial = TypeVar("Trial", bound=Named)
Result = TypeVar("Result")


def side_by_side(work: Callable[[Trial, int], Result], trials: Sequence[Trial], concurrency: int) -> list[Result]:
    """``work(trial, share)`` for each trial, ``concurrency`` in parallel. Results are in the order of ``trials``.

    ``share`` is the ``parallel_jobs`` of a stage: 0 where trials run one at a time in this process, else the number of
    trainings that share the cores. Where a trial fails, the others are finished first, so that a rerun reuses them.

    Raises:
        TrainingError: some failed; the message names each with its error.
    """
    runner: TaskRunner[Any] = ThreadPoolTaskRunner(max_workers=concurrency)
    results: list[Result] = _all.with_options(task_runner=runner)(work, trials, 0 if concurrency == 1 else concurrency)
    return results


@flow(name="trials", validate_parameters=False)
def _all(work: Callable[[Any, int], Any], trials: Sequence[Any], share: int) -> list[Any]:
    if share:
        futures = [_one.submit(work, trial, share, trial.name) for trial in trials]
        results = [future.result(raise_on_failure=False) for future in futures]
    else:  # in this thread, where a cancelled flow stops at once
        states = [_one(work, trial, share, trial.name, return_state=True) for trial in trials]
        results = [state.result(raise_on_failure=False) for state in states]
    ended = list(zip(trials, results, strict=True))
    failed = [(trial.name, error) for trial, error in ended if isinstance(error, BaseException)]
    if failed:
        raise TrainingError("; ".join(f"{name}: {error}" for name, error in failed)) from failed[0][1]
    return results


@task(name="trial", task_run_name="{name}", cache_policy=NO_CACHE, persist_result=False)
def _one(work: Callable[[Any, int], Any], trial: Any, share: int, name: str) -> Any:
    return work(trial, share)
