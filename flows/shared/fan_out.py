"""Where tasks of one kind run: in threads of this machine, or on the workers of a Dask cluster."""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from gensr_model.config.recommend import RecommendConfig
from gensr_model.config.studies import RerankConfig
from tasks.core.cluster import checked_client, lacks_dask


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
        raise lacks_dask(field, error) from error
    return FanOut(DaskTaskRunner(address=config.dask), _at_once(config.dask, field))


def _at_once(address: str, field: str) -> int:
    """The number of tasks that the machine with most places takes, after a check of scheduler and workers."""
    from distributed.comm import get_address_host

    places: Counter[str] = Counter()
    with checked_client(address, field) as client:
        for worker, threads in client.nthreads().items():
            places[get_address_host(worker)] += threads
    return max(places.values())
