"""Where tasks of one kind run: in threads of this machine, or on the workers of a Dask cluster."""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from gensr_model.config.recommend import RecommendConfig
from gensr_model.config.studies import RerankConfig
from gensr_model.errors import ConfigError
from tasks.core import worker_check

CONNECT, FIRST_WORKER = 20.0, 60.0  # seconds to wait for the scheduler and for its first worker


class FanOut(NamedTuple):
    """The task runner, and the number of tasks that share the cores of one machine."""

    runner: TaskRunner[Any]
    at_once: int


def fan_out(config: RerankConfig | RecommendConfig, section: str = "rerank") -> FanOut:
    """The FanOut of the field ``dask`` of a section. Raises ConfigError where Dask is missing or does not answer."""
    if config.dask is None:
        return FanOut(ThreadPoolTaskRunner(max_workers=config.concurrency), config.concurrency)
    field = f"{section}.dask"
    try:
        from prefect_dask import DaskTaskRunner
    except ImportError as error:
        raise ConfigError(
            f"{field} needs the extra `dask`, here and on the workers ({error}). Install it: pip "
            "install --constraint constraints.txt --editable '.[dask]'"
        ) from error
    return FanOut(DaskTaskRunner(address=config.dask), _at_once(config.dask, field))


def _at_once(address: str, field: str) -> int:
    """The number of tasks that the machine with most places takes, after a check of scheduler and workers."""
    from distributed import Client
    from distributed.comm import get_address_host

    try:
        client = Client(address, timeout=CONNECT, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{field}: no Dask scheduler answers at {address!r}: {error}. Start one with `dask "
            "scheduler`, or correct the address."
        ) from error
    with client:
        try:
            client.wait_for_workers(1, timeout=FIRST_WORKER)
        except TimeoutError as error:
            raise ConfigError(
                f"{field}: the scheduler at {address} has had no worker for {FIRST_WORKER:.0f} s. "
                f"Start some with `dask worker {address}`."
            ) from error
        try:
            client.run_on_scheduler(
                worker_check.check, worker_check.here()
            )  # the scheduler unpickles what it passes on
            client.run(worker_check.check, worker_check.here())
        except ConfigError:
            raise
        except Exception as error:  # any error of a worker without our code, or with another Python
            raise ConfigError(
                f"{field}: the scheduler or a worker cannot run gensr: {type(error).__name__}: {error}"
            ) from error
        places: Counter[str] = Counter()
        for worker, threads in client.nthreads().items():
            places[get_address_host(worker)] += threads
    return max(places.values())
