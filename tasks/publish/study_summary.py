"""The ablation study and the search over τ and β: which models to train, and the summaries of what they gave."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from gensr_model.config.base import SEARCH_ONLY, TASKS
from gensr_model.config.pipeline import PipelineConfig, with_changes
from gensr_model.config.studies import Variant
from gensr_model.errors import ConfigError
from gensr_model.evaluation.ablation import CHANGES, METRIC, ablation_rows, changes
from gensr_model.reporting.run_facts import ABLATION, SWEEP  # keys of the artifacts, too
from tasks.core.stage import StageResult
from tasks.evaluate.rank import read_ranks
from tasks.evaluate.run_data import Data, ranked_users
from tasks.publish.summary import comparisons, summarize_run

CHANGE = ("change", "low", "high", "p", "p_holm")  # of a point of the sweep, of each task


class Trial(NamedTuple):
    """A variant trained with a seed. The first seed's is named as the variant, the others after their seed."""

    name: str
    variant: Variant
    seed: int


class Point(NamedTuple):
    """Hyper-parameters of the contrastive loss."""

    tau: float
    beta: float

    @property
    def name(self) -> str:
        return f"tau={self.tau:g}-beta={self.beta:g}"


def check_ablation(config: PipelineConfig) -> None:
    """ConfigError for variants that cannot be compared, before anything is trained."""
    if config.train.tasks != "both":
        raise ConfigError(
            f"train.tasks is {config.train.tasks!r}: the ablation trains on one task itself, give it both"
        )
    if config.evaluation.protocol in SEARCH_ONLY and "recommendation_only" in config.ablation.variants:
        raise ConfigError(
            f"evaluation.protocol is {config.evaluation.protocol!r}, whose candidates are for search alone: leave "
            "recommendation_only out of ablation.variants"
        )
    same = [
        v for v in config.ablation.variants if v != "gensr" and with_changes(config, CHANGES[v]) == config
    ]
    if not config.model.text.include_searches:  # then there is nothing to leave out of a text
        same = [v for v in config.ablation.variants if v in (*same, "no_leave_one_out")]
    if same:
        raise ConfigError(
            f"{', '.join(same)} would be GenSR as it is configured, trained twice: what it takes away is not "
            f"switched on ({json.dumps({v: CHANGES[v] for v in same})}); leave it out of ablation.variants"
        )


def check_sweep(config: PipelineConfig) -> None:
    """ConfigError for a search that has no point."""
    if not points(config):
        raise ConfigError("sweep.tau and sweep.beta are both empty: there is nothing to try")


def trials(config: PipelineConfig) -> list[Trial]:
    """Every variant, gensr first, with every seed; all variants of a seed before the next seed."""
    seeds = list(dict.fromkeys(config.ablation.seeds))
    variants: list[Variant] = list(dict.fromkeys(("gensr", *config.ablation.variants)))
    return [
        Trial(variant if seed == seeds[0] else f"{variant}-seed{seed}", variant, seed)
        for seed in seeds
        for variant in variants
    ]


def trial_config(config: PipelineConfig, trial: Trial) -> PipelineConfig:
    """The config that a trial is pretrained, trained and ranked with. Data are prepared with the study's own."""
    return with_changes(config, {"seed": trial.seed, **CHANGES[trial.variant]})


def summarize_ablation(
    config: PipelineConfig, data: Data, stages: list[StageResult], ranks: dict[str, StageResult]
) -> dict[str, Any]:
    """The summary of a run whose models are trials, with the rows of the study."""
    by_variant: dict[Variant, list[StageResult]] = {}
    for trial in trials(config):
        by_variant.setdefault(trial.variant, []).append(ranks[trial.name])
    tables = {variant: [read_ranks(found) for found in of_seeds] for variant, of_seeds in by_variant.items()}
    models: dict[str, list[StageResult]] = {str(variant): found for variant, found in by_variant.items()}
    return summarize_run(config, data, stages, ranks, {}) | {
        "comparisons": comparisons(models, data.prepared, config),
        "study": ABLATION,
        ABLATION: ablation_rows(tables, config, ranked_users(data.prepared)),
    }


def points(config: PipelineConfig) -> list[Point]:
    """τ's grid at the configured β, then β's grid at the configured τ, each point once."""
    own = config.model
    grid = [Point(tau, own.beta) for tau in config.sweep.tau]
    return list(dict.fromkeys([*grid, *(Point(own.tau, beta) for beta in config.sweep.beta)]))


def best_validation(folder: Path) -> dict[str, float]:
    """``valid/…`` of the validation whose weights a fine-tuning kept."""
    validations = json.loads((folder / "training.json").read_text())["validations"]
    best = max(validations, key=lambda found: found["metric"])  # the first of equals, as in training
    return {f"valid/{name}": float(value) for name, value in best.items()}


def summarize_sweep(
    config: PipelineConfig,
    data: Data,
    found: dict[Point, tuple[StageResult, StageResult]],
) -> dict[str, Any]:
    """The summary of a run without any test ranks: a row per point, the best on valid ``chosen``.

    Of each point its trained model and its ranks of the validation samples. A row has each task's change of NDCG@5 from
    the chosen point, as ``<task>_change``, its bounds and p-values; None where there is none.
    """
    rows: list[dict[str, Any]] = []
    for point, (result, _) in found.items():
        best = best_validation(result.path)
        ndcg: dict[str, Any] = {task: best.get(f"valid/{task}/ndcg_at_5") for task in TASKS}
        rows.append({"tau": point.tau, "beta": point.beta, "metric": best["valid/metric"], **ndcg})
    first = max(rows, key=lambda row: row["metric"])
    chosen = Point(first["tau"], first["beta"])
    told = _from_chosen(config, data, {point: ranks for point, (_, ranks) in found.items()}, chosen)
    rows = [{**row, "chosen": row is first, **told[point]} for point, row in zip(found, rows, strict=True)]
    stages = [*data.stages, *(model for model, _ in found.values()), *(ranks for _, ranks in found.values())]
    return summarize_run(config, data, stages, {}, {}) | {"study": SWEEP, SWEEP: rows}


def _from_chosen(
    config: PipelineConfig, data: Data, ranks: dict[Point, StageResult], chosen: Point
) -> dict[Point, dict[str, float | None]]:
    """Of every point how each task's NDCG@5 differs from the chosen one's."""
    none = {f"{task}_{name}": None for task in TASKS for name in CHANGE}
    told: dict[Point, dict[str, float | None]] = {point: dict(none) for point in ranks}
    # No change is relative to nothing: a task in which the chosen point gains nothing has none.
    gained = [task for task in TASKS if ranks[chosen].metrics.get(f"{task}/{METRIC}")]
    tables = {point: [_of_tasks(read_ranks(result), gained)] for point, result in ranks.items()}
    for row in changes(tables, chosen, config, ranked_users(data.prepared, "valid")):
        if row["variant"] != chosen:
            told[row["variant"]] |= {f"{row['task']}_{name}": row[name] for name in CHANGE}
    return told


def _of_tasks(ranks: pa.Table, tasks: Sequence[str]) -> pa.Table:
    return ranks.filter(pc.is_in(ranks["task"], pa.array(tasks, pa.string())))
