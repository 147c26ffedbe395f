"""The paper's Tables 2 and 3: every re-ranking system on the same candidates, over several seeds."""

from __future__ import annotations

from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture
from prefect.runtime import flow_run

from flows.fan_out import fan_out
from flows.full_pipeline import prepare_data
from gensr_model.config import PipelineConfig
from gensr_model.evaluation.reference import REFERENCES
from tasks.place import Place, check, here
from tasks.rerank_table import Failed, publish_rerank
from tasks.rivals import Ranked, check_names, every_system, run_system
from tasks.stage import StageResult
from tasks.tracking import Tracked, parent_run


@flow(name="compare")
def rerank_table(config: PipelineConfig) -> dict[str, Any]:
    """Train and rank all systems, or those of ``rerank.systems``, and publish the table; returns the summary.

    A system that fails is a row that says why. What is finished is not trained again.
    """
    names = config.rerank.systems or every_system()
    check_names(names)
    fan = fan_out(config.rerank)
    with parent_run(config, "compare/rerank-table", str(flow_run.id)) as run:
        data = prepare_data(run, config)
        sharing = config.rerank.model_copy(update={"concurrency": fan.at_once})
        shared = config.model_copy(update={"rerank": sharing})
        together = rank_all.with_options(task_runner=fan.runner)
        outcomes = together(run.run_id, shared, data.prepared, data.cf, names)
        return publish_rerank(run.run_id, str(flow_run.id), config, outcomes)


@flow(name="rank-all", validate_parameters=False)
def rank_all(
    run_id: str, config: PipelineConfig, prepared: StageResult, cf: StageResult, names: tuple[str, ...]
) -> list[Ranked | Failed]:
    """All systems with the first seed, then with the others; as many at once as the task runner has places."""
    first, *later = config.rerank.seeds
    order = [(name, first) for name in names]
    order += [(name, seed) for seed in later for name in names if name not in REFERENCES]
    futures = [rank_one.submit(run_id, config, prepared, cf, name, seed, here()) for name, seed in order]
    return [_outcome(future, *which) for future, which in zip(futures, order, strict=True)]


@task(name="system", task_run_name="{name}-seed{seed}", cache_policy=NO_CACHE, persist_result=False)
def rank_one(
    run_id: str,
    config: PipelineConfig,
    prepared: StageResult,
    cf: StageResult,
    name: str,
    seed: int,
    flow: Place,
) -> Ranked:
    """One system with one seed; its stages, and what trains, run in it."""
    check(flow)  # a Dask worker may have joined late
    return run_system(Tracked.existing(run_id), config, prepared, cf, name, seed)


def _outcome(future: PrefectFuture[Ranked], name: str, seed: int) -> Ranked | Failed:
    try:
        found: Any = future.result(raise_on_failure=False)
    except Exception as error:  # Dask gives up on a system whose workers die
        found = error
    if isinstance(found, Ranked):
        return found
    said = str(found).strip().splitlines()
    return Failed(name, seed, said[0] if said else type(found).__name__)
