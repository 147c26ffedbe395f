"""The comparison of all systems from their finished stages: means, tests, costs, and all ranks in one table."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import pyarrow as pa

from gensr_model.config.base import TASKS
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.errors import DataError
from gensr_model.evaluation.compare import Verdict, against_best
from gensr_model.evaluation.comparison_table import COLUMNS, means
from gensr_model.evaluation.saved_ranks import widen
from gensr_model.reporting.run_facts import FULL_TABLE, RERANK
from tasks.compare.baselines import Ranked
from tasks.compare.names import block, title
from tasks.compare.saved_ranks import Tables, saved_costs, saved_systems
from tasks.evaluate.rank import read_ranks
from tasks.evaluate.run_data import Data, ranked_users
from tasks.publish.summary import among, summarize_run

OURS = "gensr"


class Failed(NamedTuple):
    """A system without ranks for a seed, and the error."""

    name: str
    seed: int
    error: str


class Cost(NamedTuple):
    """The costs of a system, as means over its seeds.

    A cost is NaN where a seed lacks it, or where a reference has none.
    """

    seconds_per_epoch: float  # validation included
    epochs: float  # until training stopped, the best one and those after it
    seconds_to_score: float  # loading included
    parameters: float
    peak_memory_mb: float
    colliding_ids: float  # of a generator over the catalogue: `gensr_model.training.over_catalogue.id_costs`
    invalid_ids: float


class Compared(NamedTuple):
    """A finished comparison.

    ``tables`` are published beside the summary: ``table``, the rows of ``evaluation.comparison_table.means``, and
    ``ranks``, all per-sample ranks in the form of `gensr_model.evaluation.saved_ranks.read_saved_ranks`.
    """

    summary: dict[str, Any]
    tables: dict[str, pa.Table]


def compare(config: PipelineConfig, data: Data, outcomes: list[Ranked | Failed], study: str = RERANK) -> Compared:
    """Means, tests and costs of all systems of a study. Raises DataError where no system has ranks."""
    done = [o for o in outcomes if isinstance(o, Ranked)]
    failed = [o for o in outcomes if isinstance(o, Failed)]
    if not done:
        raise DataError(f"no system was ranked. The first error is that of {failed[0].name}: {failed[0].error}")
    names = list(dict.fromkeys(o.name for o in outcomes))
    by_name = {name: [o for o in done if o.name == name] for name in names}
    tables = {name: [read_ranks(o.ranks) for o in ranked] for name, ranked in by_name.items() if ranked}
    saved = saved_systems(config.rerank.saved_ranks, tables, names)
    costs = {name: mean_cost(by_name[name]) for name in tables}
    taken = saved_costs(config.rerank.saved_ranks, saved)
    costs |= {name: mean_saved_cost(seeds) for name, seeds in taken.items()}
    tables |= saved
    names += saved
    rows = means(tables)
    rule = config.statistics
    users = ranked_users(data.prepared)
    resampling = (rule.bootstrap_samples, rule.confidence, config.seed)
    verdicts = against_best(tables, OURS, TASKS, tuple(COLUMNS), *resampling, users=users)
    ran = [*data.stages, *(s for o in done for s in (o.trained, o.ranks) if s is not None)]
    summary = summarize_run(config, data, ran, {}, {}) | _summary(config, rows, verdicts, costs, done, failed)
    summary["systems"] = {name: {"title": title(name), "group": block(name)} for name in names}
    summary |= {"study": study, "saved_ranks": list(saved)}
    if study == FULL_TABLE:
        summary["among"] = among(config, done[0].ranks)
        summary["left_out"] = [title(name) for name in config.rerank.systems if name not in names]
    return Compared(summary, {"table": pa.Table.from_pylist(rows), "ranks": all_ranks(done, saved)})


def mean_cost(seeds: list[Ranked]) -> Cost:
    """The costs of a system in this run, as means over its seeds."""
    costs = [] if seeds else [(math.nan,) * len(Cost._fields)]
    for one in seeds:
        trained = one.trained.metrics if one.trained else {}
        epochs, steps = trained.get("epochs", math.nan), trained.get("steps", math.nan)
        # A training that resumed after a crash has only the time of its last part.
        timed = epochs * (1 - trained.get("resumed_at", 0.0) / steps) if steps else math.nan
        peak = trained.get("peak_memory_mb", math.nan)
        each = trained.get("seconds", math.nan) / timed if timed else math.nan
        # Without the start of a process; a reference is ranked in this one.
        scored = one.ranks.metrics.get("seconds_to_score", one.ranks.seconds)
        ids = [one.ranks.metrics.get(name, math.nan) for name in ("colliding_ids", "invalid_ids")]
        costs.append((each, epochs, scored, trained.get("parameters", math.nan), peak, *ids))
    return Cost(*(sum(values) / len(values) for values in zip(*costs, strict=True)))


def mean_saved_cost(seeds: list[dict[str, float]]) -> Cost:
    """The costs from saved ranks. NaN where a seed lacks a cost."""
    columns = [[seed.get(field, math.nan) for seed in seeds] or [math.nan] for field in Cost._fields]
    return Cost(*(sum(values) / len(values) for values in columns))


def all_ranks(done: list[Ranked], saved: Tables) -> pa.Table:
    """All ranks in one table. Saved trainings of one system are numbered, because their files do not name the seed."""
    seeds = {o.seed for o in done if o.trained}
    named = {
        o.name if len(seeds) < 2 or o.trained is None else f"{o.name}/seed{o.seed}": read_ranks(o.ranks) for o in done
    }
    for name, tables in saved.items():
        named |= {name if len(tables) < 2 else f"{name}/training{i}": table for i, table in enumerate(tables)}
    return widen(named)


def _summary(
    config: PipelineConfig,
    rows: list[dict[str, Any]],
    verdicts: list[Verdict],
    costs: dict[str, Cost],
    done: list[Ranked],
    failed: list[Failed],
) -> dict[str, Any]:
    return {
        "seeds": list(config.rerank.seeds),
        "results": [_finite(row) for row in rows],
        "verdicts": [_finite(v._asdict() | v.compared._asdict() | {"compared": None}) for v in verdicts],
        "costs": {name: _finite(cost._asdict()) for name, cost in costs.items()},
        "chosen": {o.name: o.point for o in done if o.seed == config.rerank.seeds[0]},
        "failed": [f._asdict() for f in failed],
    }


def _finite(row: dict[str, Any]) -> dict[str, Any]:
    """The row without None, NaN and infinity, which JSON lacks."""
    return {k: v for k, v in row.items() if v is not None and not (isinstance(v, float) and not math.isfinite(v))}
