"""The summaries of the ablation study and of the search over τ and β."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from gensr_model.config.base import TASKS
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.evaluation.ablation import METRIC, ablation_rows, changes
from gensr_model.reporting.run_facts import ABLATION, SWEEP  # keys of the artifacts, too
from tasks.compare.trials import Point, trials
from tasks.core.stage import StageResult
from tasks.evaluate.rank import read_ranks
from tasks.evaluate.run_data import Data, ranked_users
from tasks.publish.summary import comparisons, summarize_run

CHANGE = ("change", "low", "high", "p", "p_holm")  # for each point of the sweep and each task


def summarize_ablation(
    config: PipelineConfig, data: Data, stages: list[StageResult], ranks: dict[str, StageResult]
) -> dict[str, Any]:
    """The summary of a run whose models are trials, with the rows of the study."""
    by_variant: dict[str, list[StageResult]] = {}
    for trial in trials(config):
        by_variant.setdefault(trial.variant, []).append(ranks[trial.name])
    tables = {variant: [read_ranks(ranked) for ranked in seeds] for variant, seeds in by_variant.items()}
    return summarize_run(config, data, stages, ranks, {}) | {
        "comparisons": comparisons(by_variant, data.prepared, config),
        "study": ABLATION,
        ABLATION: ablation_rows(tables, config, ranked_users(data.prepared)),
    }


def best_validation(folder: Path) -> dict[str, float]:
    """``valid/…`` of the validation that chose the weights."""
    validations = json.loads((folder / "training.json").read_text(encoding="utf-8"))["validations"]
    best = max(validations, key=lambda validation: validation["metric"])  # the first of equals, as in training
    return {f"valid/{name}": float(value) for name, value in best.items()}


def summarize_sweep(
    config: PipelineConfig, data: Data, trained: dict[Point, tuple[StageResult, StageResult]]
) -> dict[str, Any]:
    """The summary of a run without test ranks: a row per point, with the best on valid as ``chosen``.

    Each point has a trained model and ranks of the validation samples. A row has each task's change of NDCG@5 from the
    chosen point, as ``<task>_change``, with its bounds and p-values; None where there is none.
    """
    rows: list[dict[str, Any]] = []
    for point, (result, _) in trained.items():
        best = best_validation(result.path)
        ndcg: dict[str, Any] = {task: best.get(f"valid/{task}/ndcg_at_5") for task in TASKS}
        rows.append({"tau": point.tau, "beta": point.beta, "metric": best["valid/metric"], **ndcg})
    first = max(rows, key=lambda row: row["metric"])
    chosen = Point(first["tau"], first["beta"])
    from_chosen = _from_chosen(config, data, {point: ranks for point, (_, ranks) in trained.items()}, chosen)
    rows = [{**row, "chosen": row is first, **from_chosen[point]} for point, row in zip(trained, rows, strict=True)]
    stages = [*data.stages, *(model for model, _ in trained.values()), *(ranks for _, ranks in trained.values())]
    return summarize_run(config, data, stages, {}, {}) | {"study": SWEEP, SWEEP: rows}


def _from_chosen(
    config: PipelineConfig, data: Data, ranks: dict[Point, StageResult], chosen: Point
) -> dict[Point, dict[str, float | None]]:
    """For every point, the change of each task's NDCG@5 from the chosen point."""
    none = {f"{task}_{name}": None for task in TASKS for name in CHANGE}
    changes_of: dict[Point, dict[str, float | None]] = {point: dict(none) for point in ranks}
    # A relative change needs a positive base: a task where the chosen point has NDCG@5 0 has no change.
    gained = [task for task in TASKS if ranks[chosen].metrics.get(f"{task}/{METRIC}")]
    tables = {point: [_task_rows(read_ranks(result), gained)] for point, result in ranks.items()}
    for row in changes(tables, chosen, config, ranked_users(data.prepared, "valid")):
        if row["variant"] != chosen:
            changes_of[row["variant"]] |= {f"{row['task']}_{name}": row[name] for name in CHANGE}
    return changes_of


def _task_rows(ranks: pa.Table, tasks: Sequence[str]) -> pa.Table:
    return ranks.filter(pc.is_in(ranks["task"], pa.array(tasks, pa.string())))
