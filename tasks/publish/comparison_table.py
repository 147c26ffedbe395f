"""The comparison of all systems, written where people look for it: files, a Prefect artifact, an MLflow table."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from gensr_model.config.base import TASKS
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.errors import DataError
from gensr_model.evaluation.compare import Verdict, against_best
from gensr_model.evaluation.comparison_table import COLUMNS, cell, means, places, seeds_text, starred
from gensr_model.evaluation.reference import REFERENCES
from gensr_model.evaluation.saved_ranks import widen
from gensr_model.reporting.run_facts import RERANK as KEY  # of the artifact
from gensr_model.runtime.files import write_json
from tasks.compare.baselines import Ranked, block, title
from tasks.compare.saved_ranks import Tables, saved_costs, saved_systems
from tasks.core.state_dir import state_dir
from tasks.core.tracking import Tracked
from tasks.evaluate.rank import read_ranks
from tasks.evaluate.run_data import Data, ranked_users
from tasks.publish.publish import headline, links_text, point_latest
from tasks.publish.summary import grid, of_users, summarize_run

OURS = "gensr"
TABLE, RANKS, SUMMARY, MARKDOWN = "table.parquet", "ranks.parquet", "summary.json", "table.md"


class Failed(NamedTuple):
    """A system that gave no ranks with a seed, and why."""

    name: str
    seed: int
    error: str


class Cost(NamedTuple):
    """What a system takes, the mean over its seeds; NaN where it is not known of each or, for a reference, nothing."""

    seconds_per_epoch: float  # validation included
    epochs: float  # until training stopped, the best one and those after it
    seconds_to_score: float  # loading included
    parameters: float
    peak_memory_mb: float


class Compared(NamedTuple):
    """A finished comparison."""

    summary: dict[str, Any]
    text: str  # Markdown
    rows: list[dict[str, Any]]  # of ``evaluation.rerank_table.means``
    done: list[Ranked]
    saved_ranks: Tables


def compare(config: PipelineConfig, data: Data, outcomes: list[Ranked | Failed]) -> Compared:
    """Means, tests and costs of all systems. Raises DataError where no system gave ranks."""
    done = [o for o in outcomes if isinstance(o, Ranked)]
    failed = [o for o in outcomes if isinstance(o, Failed)]
    if not done:
        raise DataError(f"no system was ranked; the first failure, of {failed[0].name}: {failed[0].error}")
    names = list(dict.fromkeys(o.name for o in outcomes))
    tables = {
        name: [read_ranks(o.ranks) for o in done if o.name == name] for name in names if _any(done, name)
    }
    kept = saved_systems(config.rerank.saved_ranks, tables, names)
    tables |= kept
    names += kept
    rows = means(tables)
    verdicts = against_best(
        tables,
        OURS,
        TASKS,
        tuple(COLUMNS),
        config.statistics.bootstrap_samples,
        config.statistics.confidence,
        config.seed,
        users=ranked_users(data.prepared),
    )
    costs = {name: _cost([o for o in done if o.name == name]) for name in tables}
    costs |= {
        name: _cost_of_saved(found) for name, found in saved_costs(config.rerank.saved_ranks, kept).items()
    }
    text = markdown(config, names, rows, verdicts, costs, failed)
    if kept:
        text += f"\nFrom saved ranks, not trained in this run: {', '.join(map(title, kept))}. "
        text += "What these took is from their own runs, so times may be of other machines or beside other work; a "
        text += "cell is empty where it is not known of every seed.\n"
    ran = [*data.stages, *(s for o in done for s in (o.trained, o.ranks) if s is not None)]
    summary = summarize_run(config, data, ran, {}, {}) | _summary(config, rows, verdicts, costs, done, failed)
    summary["systems"] = {name: {"title": title(name), "group": block(name)} for name in names}
    return Compared(summary | {"study": KEY, "saved_ranks": list(kept)}, text, rows, done, kept)


@task(name="publish-rerank", task_run_name="publish-rerank", cache_policy=NO_CACHE)
def publish_rerank(run_id: str, flow_run_id: str, compared: Compared) -> dict[str, Any]:
    """Write ``runs/<flow run>/`` with summary, Markdown table, Parquet table and all per-sample ranks."""
    run = Tracked.existing(run_id)
    mlflow = {"experiment_id": run.experiment_id, "run_id": run_id}
    summary = compared.summary | {"flow_run_id": flow_run_id, "mlflow": mlflow}
    rows, text = compared.rows, compared.text
    folder = state_dir().runs / flow_run_id
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / SUMMARY, summary)
    (folder / MARKDOWN).write_text(text)
    pq.write_table(pa.Table.from_pylist(rows), folder / TABLE)
    _write_ranks(folder / RANKS, compared.done, compared.saved_ranks)
    point_latest(flow_run_id)
    run.artifacts(folder, ("*",))
    run.metrics(headline(summary))
    run.table("rerank_table.json", [r | {"title": title(r["system"])} for r in rows])
    create_markdown_artifact(
        text + links_text(summary), key=KEY, description=f"{summary['dataset']}: all systems"
    )
    return summary


def _any(done: list[Ranked], name: str) -> bool:
    return any(o.name == name for o in done)


def _cost(seeds: list[Ranked]) -> Cost:
    found = [] if seeds else [(math.nan,) * len(Cost._fields)]
    for one in seeds:
        trained = one.trained.metrics if one.trained else {}
        epochs, steps = trained.get("epochs", math.nan), trained.get("steps", math.nan)
        # Of a training that went on after a crash, only the last part was timed.
        timed = epochs * (1 - trained.get("resumed_at", 0.0) / steps) if steps else math.nan
        peak = trained.get("peak_memory_mb", math.nan)
        each = trained.get("seconds", math.nan) / timed if timed else math.nan
        # Without the start of a process; a reference is ranked in this one.
        scored = one.ranks.metrics.get("seconds_to_score", one.ranks.seconds)
        found.append((each, epochs, scored, trained.get("parameters", math.nan), peak))
    return Cost(*(sum(values) / len(values) for values in zip(*found, strict=True)))


def _cost_of_saved(seeds: list[dict[str, float]]) -> Cost:
    told = [[seed.get(field, math.nan) for seed in seeds] or [math.nan] for field in Cost._fields]
    return Cost(*(sum(values) / len(values) for values in told))


def _write_ranks(path: Path, done: list[Ranked], kept: Tables) -> None:
    """All per-sample ranks as one small table, `gensr_model.evaluation.saved_ranks.read_saved_ranks` reads it.

    Saved trainings of one system are numbered as they come: a file of one training does not say its seed.
    """
    seeds = {o.seed for o in done if o.trained}
    named = {
        o.name if len(seeds) < 2 or o.trained is None else f"{o.name}/seed{o.seed}": read_ranks(o.ranks)
        for o in done
    }
    for name, tables in kept.items():
        named |= {name if len(tables) < 2 else f"{name}/training{i}": table for i, table in enumerate(tables)}
    pq.write_table(widen(named), path, compression="zstd")


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
    """JSON has neither NaN nor infinity: such values, and None, are left out."""
    return {
        k: v for k, v in row.items() if v is not None and not (isinstance(v, float) and not math.isfinite(v))
    }


def markdown(
    config: PipelineConfig,
    names: list[str],
    rows: list[dict[str, Any]],
    verdicts: list[Verdict],
    costs: dict[str, Cost],
    failed: list[Failed],
) -> str:
    """A table per task, GenSR last as in the paper, then the tests, what each system takes, and what failed."""
    names = [*(n for n in names if n != OURS), *(n for n in names if n == OURS)]
    found = {(r["task"], r["system"], r["metric"]): r for r in rows}
    lines = [f"# {config.name}: all systems on the same candidates", ""]
    for number, name in enumerate(TASKS, start=2):
        body = [_row(name, system, rows, found, verdicts, costs) for system in names
                if (name, system, "mrr") in found]  # fmt: skip
        if not body:
            continue
        samples = next(r["samples"] for r in rows if r["task"] == name)
        told = of_users(samples, ({"users": v.compared.users} for v in verdicts if v.task == name))
        lines += [
            f"## {name.capitalize()} (the paper's Table {number}): {told}, 1 positive among "
            f"{config.prepare.negatives} negatives ({config.evaluation.protocol}), "
            + seeds_text(r["seeds"] for r in rows if r["task"] == name and r["system"] not in REFERENCES),
            "",
            *grid(["system", "group", *COLUMNS.values(), "seeds", *_COST], body),
            "",
        ]
    lines += [
        "Best bold, second underlined. A star: GenSR leads the best other system, paired t-test by user with Holm's "
        "correction over all columns, p < 0.01. Epochs are all that were trained, s/epoch has validation in it, s to "
        "score the loading; peak memory is that of the training process (of the GPU where there is one), validation "
        "included.",
        "",
    ]
    lines += _tests(verdicts, config) + _failures(failed)
    return "\n".join(lines)


_COST = ("epochs", "s/epoch", "s to score", "parameters", "peak MB")


def _row(
    of_task: str,
    system: str,
    rows: list[dict[str, Any]],
    found: dict[tuple[str, str, str], dict[str, Any]],
    verdicts: list[Verdict],
    costs: dict[str, Cost],
) -> list[str]:
    cells = []
    for metric in COLUMNS:
        star = system == OURS and starred(verdicts, of_task, metric)
        place = places(rows, of_task, metric)[system]
        cells.append(cell(found[of_task, system, metric]["mean"], place, star))
    cost = costs[system]
    shown = [f"{cost.epochs:.1f}", f"{cost.seconds_per_epoch:.1f}", f"{cost.seconds_to_score:.1f}"]
    shown += [f"{cost.parameters:,.0f}", f"{cost.peak_memory_mb:.0f}"]
    shown = ["" if text == "nan" else text for text in shown]
    return [title(system), block(system), *cells, str(found[of_task, system, "mrr"]["seeds"]), *shown]


def _tests(verdicts: list[Verdict], config: PipelineConfig) -> list[str]:
    body = [
        [
            v.task,
            COLUMNS[v.metric],
            title(v.baseline),
            f"{v.compared.mean_difference:+.4f} [{v.compared.low:+.4f}, {v.compared.high:+.4f}]",
            f"{v.compared.t:.2f}",
            f"{v.compared.p:.2g}",
            f"{v.p_holm:.2g}",
        ]
        for v in verdicts
    ]
    interval = f"GenSR − it [{100 * config.statistics.confidence:g}% bootstrap over users]"
    head = ["task", "metric", "best other", interval, "t", "p", "p (Holm)"]
    return ["## GenSR against the best other system", "", *grid(head, body), ""] if body else []


def _failures(failed: list[Failed]) -> list[str]:
    body = [[f.name, str(f.seed), " ".join(f.error.replace("|", "/").split())[:300]] for f in failed]
    return ["## Not ranked", "", *grid(["system", "seed", "why"], body), ""] if body else []
