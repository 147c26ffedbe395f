"""The trials of a study, each a Prefect task, as many at once as the config allows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.futures import wait
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner


class Named(Protocol):
    """What a trial is known by."""

    @property
    def name(self) -> str: ...


Trial = TypeVar("Trial", bound=Named)
Found = TypeVar("Found")


def side_by_side(
    work: Callable[[Trial, int], Found], trials: Sequence[Trial], concurrency: int
) -> list[Found]:
    """``work(trial, share)`` for each trial, ``concurrency`` at once; the results in the order of ``trials``.

    ``share`` is what a stage takes as ``alone``: 0 where one trial at a time has the process to itself, else how many
    trainings share the cores. Where a trial fails the others are finished first, so that a rerun finds them.
    """
    runner: TaskRunner[Any] = ThreadPoolTaskRunner(max_workers=concurrency)
    found: list[Found] = _all.with_options(task_runner=runner)(
        work, trials, 0 if concurrency == 1 else concurrency
    )
    return found


@flow(name="trials", validate_parameters=False)
def _all(work: Callable[[Any, int], Any], trials: Sequence[Any], share: int) -> list[Any]:
    futures = [_one.submit(work, trial, share, trial.name) for trial in trials]
    wait(futures)
    return [future.result() for future in futures]


@task(name="trial", task_run_name="{name}", cache_policy=NO_CACHE, persist_result=False)
def _one(work: Callable[[Any, int], Any], trial: Any, share: int, name: str) -> Any:
    return work(trial, share)
