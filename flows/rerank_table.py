"""The paper's Tables 2 and 3: every re-ranking system on the same candidates, over the seeds named."""

from __future__ import annotations

from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture
from prefect.runtime import flow_run

from flows.shared.fan_out import FanOut, fan_out
from flows.shared.steps import finish, prepare_data
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.errors import ConfigError
from gensr_model.evaluation.reference import REFERENCES
from gensr_model.reporting.run_facts import RERANK
from tasks.compare.baselines import Ranked, check_names, check_points, check_trials, every_system, run_system, title
from tasks.compare.saved_ranks import taken
from tasks.core.stage import StageResult
from tasks.core.tracking import Tracked, parent_run
from tasks.core.worker_check import WorkerEnvironment, check, here
from tasks.evaluate.run_data import Data
from tasks.publish.comparison_table import Compared, Failed, compare


@flow(name="compare")
def rerank_table(config: PipelineConfig) -> dict[str, Any]:
    """Train and rank all systems, or those of ``rerank.systems``, and publish the table; returns the summary.

    A system that fails is a row that shows its error. What is finished is not trained again.
    """
    fan = check_systems(config)
    with parent_run(config, "compare/rerank-table", str(flow_run.id)) as run:
        compared = compare_systems(run, config, prepare_data(run, config), fan)
        run.table(
            "rerank_table.json", [r | {"title": title(r["system"])} for r in compared.tables["table"].to_pylist()]
        )
        return finish(run, compared.summary, RERANK, compared.tables)


def check_systems(config: PipelineConfig) -> FanOut:
    """Where systems are put to work; ConfigError, before anything is trained, for what cannot be done."""
    if config.train.tasks != "both":
        raise ConfigError(
            f"train.tasks is {config.train.tasks!r}: baselines are compared on what each of them is for, give it both"
        )
    check_names(_names(config))
    check_points(config)
    if config.rerank.tune is not False:
        check_trials(config, _names(config))
    for saved, given in zip(config.rerank.saved_ranks, taken(config.rerank.saved_ranks, _names(config)), strict=True):
        check_names(tuple(given), f"rerank.saved_ranks ({saved.path})")
    return fan_out(config.rerank)


def compare_systems(run: Tracked, config: PipelineConfig, data: Data, fan: FanOut) -> Compared:
    """All systems on the same candidates; gensr/full-pipeline makes it, too."""
    sharing = config.rerank.model_copy(update={"concurrency": fan.at_once})
    shared = config.model_copy(update={"rerank": sharing})
    together = rank_all.with_options(task_runner=fan.runner)
    outcomes = together(run.run_id, shared, data.prepared, data.cf, _names(config))
    return compare(config, data, outcomes)


def _names(config: PipelineConfig) -> tuple[str, ...]:
    return config.rerank.systems or every_system()


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
    flow: WorkerEnvironment,
) -> Ranked:
    """One system with one seed; its stages, and what trains, run in it."""
    check(flow)  # a Dask worker may have joined late
    return run_system(Tracked.existing(run_id), config, prepared, cf, name, seed)


def _outcome(future: PrefectFuture[Ranked], name: str, seed: int) -> Ranked | Failed:
    try:
        outcome: Any = future.result(raise_on_failure=False)
    except Exception as error:  # Dask gives up on a system whose workers die
        outcome = error
    if isinstance(outcome, Ranked):
        return outcome
    lines = str(outcome).strip().splitlines()
    return Failed(name, seed, lines[0] if lines else type(outcome).__name__)
