"""Where the systems of a comparison are put to work: threads of this machine, or the workers of a Dask cluster."""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from gensr_model.config.studies import RerankConfig
from gensr_model.errors import ConfigError
from tasks.core import worker_check

CONNECT, FIRST_WORKER = 20.0, 60.0  # seconds to wait for the scheduler, and for its first worker


class FanOut(NamedTuple):
    """The task runner, and how many systems at once share the cores of one machine."""

    runner: TaskRunner[Any]
    at_once: int


def fan_out(rerank: RerankConfig) -> FanOut:
    """What ``rerank.dask`` asks for. Raises ConfigError where Dask is not installed or cannot be worked with."""
    if rerank.dask is None:
        return FanOut(ThreadPoolTaskRunner(max_workers=rerank.concurrency), rerank.concurrency)
    try:
        from prefect_dask import DaskTaskRunner
    except ImportError as error:
        raise ConfigError(
            f"rerank.dask needs the extra `dask`, here and where the workers are ({error}): "
            "pip install --constraint constraints.txt --editable '.[dask]'"
        ) from error
    return FanOut(DaskTaskRunner(address=rerank.dask), _at_once(rerank.dask))


def _at_once(address: str) -> int:
    """How many tasks the machine with the most places takes. Scheduler and workers are looked at first."""
    from distributed import Client
    from distributed.comm import get_address_host

    try:
        client = Client(address, timeout=CONNECT, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ConfigError(f"rerank.dask: no Dask scheduler answers at {address!r}: {error}") from error
    with client:
        try:
            client.wait_for_workers(1, timeout=FIRST_WORKER)
        except TimeoutError as error:
            raise ConfigError(
                f"rerank.dask: the scheduler at {address} has had no worker for {FIRST_WORKER:.0f} s; "
                f"start some with `dask worker {address}`"
            ) from error
        try:
            client.run_on_scheduler(worker_check.check, worker_check.here())  # it unpickles what it passes on
            client.run(worker_check.check, worker_check.here())
        except ConfigError:
            raise
        except Exception as error:  # any error of a worker without our code, or with another Python
            raise ConfigError(
                f"rerank.dask: the scheduler or a worker cannot run gensr: {type(error).__name__}: {error}"
            ) from error
        places: Counter[str] = Counter()
        for worker, threads in client.nthreads().items():
            places[get_address_host(worker)] += threads
    return max(places.values())
