"""Trainings of one flow, each a Prefect task, as many at once as the config allows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture
from prefect.task_runners import ThreadPoolTaskRunner

from gensr_model.errors import TrainingError


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

    Raises:
        TrainingError: some failed; names each, and says why.
    """
    found: list[Any]
    if concurrency == 1:  # in this thread, where a cancelled flow stops at once
        states = [_one(work, trial, 0, trial.name, return_state=True) for trial in trials]
        found = [state.result(raise_on_failure=False) for state in states]
    else:  # in threads of the flow's own run: its page and `make run` show their log and progress
        runner: ThreadPoolTaskRunner[Any] = ThreadPoolTaskRunner(max_workers=concurrency)
        with runner:
            given = [{"work": work, "trial": t, "share": concurrency, "name": t.name} for t in trials]
            futures: list[PrefectFuture[Any]] = [runner.submit(_one, arguments) for arguments in given]
            found = [future.result(raise_on_failure=False) for future in futures]
    ended = list(zip(trials, found, strict=True))
    failed = [(trial.name, error) for trial, error in ended if isinstance(error, BaseException)]
    if failed:
        raise TrainingError("; ".join(f"{name}: {error}" for name, error in failed)) from failed[0][1]
    return found


@task(name="trial", task_run_name="{name}", cache_policy=NO_CACHE, persist_result=False)
def _one(work: Callable[[Any, int], Any], trial: Any, share: int, name: str) -> Any:
    return work(trial, share)
