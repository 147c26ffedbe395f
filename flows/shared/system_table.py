"""Tables of many systems. Each system is trained and ranked as a task, and a failed one is a row with its error."""

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
from tasks.compare.baselines import Ranked, run_system
from tasks.compare.full_table import TABLES
from tasks.compare.names import check_names, check_needs, check_points, check_trials, not_made, title
from tasks.compare.saved_ranks import taken
from tasks.core.run_log import run_logger
from tasks.core.stage import StageResult
from tasks.core.tracking import Tracked, parent_run
from tasks.core.worker_check import WorkerEnvironment, check, here
from tasks.evaluate.run_data import Data
from tasks.publish.comparison_table import Compared, Failed, compare


def make_table(config: PipelineConfig, study: str) -> dict[str, Any]:
    """Prepare the data, make the table of a study and publish it. Returns the summary."""
    fan = check_systems(config, study)
    with parent_run(config, f"compare/{study}", str(flow_run.id)) as run:
        compared = compare_systems(run, config, prepare_data(run, config), fan, study)
        rows = [row | {"title": title(row["system"])} for row in compared.tables["table"].to_pylist()]
        run.table(f"{study.replace('-', '_')}.json", rows)
        return finish(run, compared.summary, study, compared.tables)


def check_systems(config: PipelineConfig, study: str = RERANK) -> FanOut:
    """Where systems run. Raises ConfigError, before any training, for an impossible table."""
    if config.train.tasks != "both":
        raise ConfigError(
            f"train.tasks is {config.train.tasks!r}, but the baselines of the table need both tasks. "
            "Set train.tasks to both."
        )
    check_names(config.rerank.systems)
    check_points(config)
    names = TABLES[study].names(config)
    if not names:
        raise ConfigError(
            f"rerank.systems: {', '.join(config.rerank.systems)} can only rank given candidates, not "
            f"the catalogue. Choose from {', '.join(TABLES[study].every())}."
        )
    check_needs(config, names)
    if config.rerank.tune is not False:
        check_trials(config, names)
    for saved, given in zip(config.rerank.saved_ranks, taken(config.rerank.saved_ranks, names), strict=True):
        check_names(tuple(given), f"rerank.saved_ranks ({saved.path})")
    return fan_out(config.rerank)


def compare_systems(run: Tracked, config: PipelineConfig, data: Data, fan: FanOut, study: str = RERANK) -> Compared:
    """All systems of a study, ranked and compared."""
    sharing = config.rerank.model_copy(update={"concurrency": fan.at_once})
    shared = config.model_copy(update={"rerank": sharing})
    together = rank_all.with_options(task_runner=fan.runner)
    outcomes = together(run.run_id, shared, data.prepared, data.cf, study)
    return compare(config, data, outcomes, study)


@flow(name="rank-all", validate_parameters=False)
def rank_all(
    run_id: str, config: PipelineConfig, prepared: StageResult, cf: StageResult, study: str
) -> list[Ranked | Failed]:
    """All systems with the first seed, then with the others, as many in parallel as the task runner has places."""
    wanted, (first, *later) = TABLES[study].names(config), config.rerank.seeds
    left_out = [Failed(name, first, reason) for name in wanted if (reason := not_made(config, name))]
    for each in left_out:
        run_logger().warning("%s, so it is left out", each.error)
    names = [name for name in wanted if name not in {each.name for each in left_out}]
    order = [(name, first) for name in names]
    order += [(name, seed) for seed in later for name in names if name not in REFERENCES]
    futures = [rank_one.submit(run_id, config, prepared, cf, name, seed, study, here()) for name, seed in order]
    return left_out + [_outcome(future, *which) for future, which in zip(futures, order, strict=True)]


@task(name="system", task_run_name="{name}-seed{seed}", cache_policy=NO_CACHE, persist_result=False)
def rank_one(
    run_id: str,
    config: PipelineConfig,
    prepared: StageResult,
    cf: StageResult,
    name: str,
    seed: int,
    study: str,
    flow: WorkerEnvironment,
) -> Ranked:
    """Train and rank one system with one seed. Its stages and trainings run in this task."""
    check(flow)  # a Dask worker may have joined late
    return run_system(Tracked.existing(run_id), config, prepared, cf, name, seed, TABLES[study])


def _outcome(future: PrefectFuture[Ranked], name: str, seed: int) -> Ranked | Failed:
    try:
        outcome: Any = future.result(raise_on_failure=False)
    except Exception as error:  # Dask stops trying a system whose workers die
        outcome = error
    if isinstance(outcome, Ranked):
        return outcome
    lines = str(outcome).strip().splitlines()
    return Failed(name, seed, lines[0] if lines else type(outcome).__name__)
