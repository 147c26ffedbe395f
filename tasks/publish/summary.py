"""The result of a run as one summary, ready for JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gensr_model.config.base import TASKS, digest
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.evaluation.compare import add_holm, paired_bootstrap
from gensr_model.evaluation.metrics import METRICS
from gensr_model.reporting.findings import still_improving
from gensr_model.reporting.run_facts import FULL
from tasks.core.stage import StageResult
from tasks.core.tracking import git_commit
from tasks.evaluate.rank import read_ranks
from tasks.evaluate.run_data import Data, ranked_users
from tasks.train.finetune import how_it_ended


def trained_model(label: str) -> str | None:
    """The model that the stage with this label trained, by its name in tables. None where it trained none."""
    for stage in ("finetune-", "train-baseline-full-", "train-baseline-"):
        if label.startswith(stage):
            return label.removeprefix(stage)
    return None


def results(ranks: dict[str, StageResult]) -> dict[str, dict[str, dict[str, float]]]:
    """Task -> model -> metric, for every model that serves the task, in the given order."""
    by_task: dict[str, dict[str, dict[str, float]]] = {}
    for task in TASKS:
        known = (*METRICS, "samples", "median_candidates")
        rows = {name: {m: r.metrics[f"{task}/{m}"] for m in known if f"{task}/{m}" in r.metrics}
                for name, r in ranks.items()}  # fmt: skip
        by_task[task] = {name: row for name, row in rows.items() if row}
    return by_task


def comparisons(
    ranks: Mapping[str, Sequence[StageResult]], prepared: StageResult, config: PipelineConfig
) -> dict[str, dict[str, dict[str, float]]]:
    """Task -> other model -> GenSR minus that model in NDCG@10: mean, bootstrap bounds, paired t-test.

    Resamples and tests are by user of ``prepared``. ``p_holm`` is the test's p after Holm's correction over all other
    models and both tasks. An undefined t-test, on one user or on a constant difference, is left out, because JSON has
    no infinity.

    Args:
        ranks: evaluations of every model, one per seed; each sample's metric is averaged over the seeds.
    """
    by_task: dict[str, dict[str, dict[str, float]]] = {task: {} for task in TASKS}
    if "gensr" not in ranks:  # a study that reads no test ranks
        return by_task
    ours, users = [read_ranks(result) for result in ranks["gensr"]], ranked_users(prepared)
    for name, results_of in ranks.items():
        for task in TASKS:
            if name == "gensr" or not (
                results_of[0].metrics.get(f"{task}/samples") and task in ours[0]["task"].to_pylist()
            ):
                continue
            compared = paired_bootstrap(
                ours,
                [read_ranks(result) for result in results_of],
                samples=config.statistics.bootstrap_samples,
                confidence=config.statistics.confidence,
                seed=config.seed,
                task=task,
                users=users,
            )
            by_task[task][name] = {k: float(v) for k, v in compared._asdict().items() if math.isfinite(v)}
    add_holm((row for rows in by_task.values() for row in rows.values()), "p")
    return by_task


def summarize_run(
    config: PipelineConfig,
    data: Data,
    stages: list[StageResult],
    ranks: dict[str, StageResult],
    analysis: dict[str, float],
) -> dict[str, Any]:
    """The content of ``summary.json``, without links."""
    return {
        "dataset": config.name,
        "format": config.format,
        "source": f"{config.source.kind} data",
        "preset": config.preset,
        "seed": config.seed,
        "negatives": config.prepare.negatives,
        "config": config.model_dump(mode="json"),
        "config_hash": digest(config),
        "dataset_digest": data.source.key,
        "commit": git_commit(),
        "results": results(ranks),
        "comparisons": comparisons({name: [evaluation] for name, evaluation in ranks.items()}, data.prepared, config),
        "analysis": analysis,
        "training": {model: _training(s.path) for s in stages if (model := trained_model(s.label))},
        "stages": [
            {"label": s.label, "seconds": s.seconds, "reused": s.reused, "key": s.key, "built_on": s.built_on}
            for s in [*stages, *ranks.values()]
        ],
    }


def _training(folder: Path) -> dict[str, Any]:
    """How a training ended, and whether the model was still improving then."""
    training = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    return how_it_ended(folder) | {"improving": still_improving(training)}


def summarize_full(
    config: PipelineConfig, data: Data, stages: list[StageResult], ranks: dict[str, StageResult]
) -> dict[str, Any]:
    """The summary of full ranking (§6.3), which ranks the whole catalogue."""
    return summarize_run(config, data, stages, ranks, {}) | {"study": FULL, "among": among(config, ranks["gensr"])}


def among(config: PipelineConfig, ranks: StageResult) -> str:
    """A description of the items that a positive is ranked among in full ranking."""
    met = ", without those the user had met" if config.full_ranking.mask_met else ""
    return f"all {int(ranks.metrics['items']):,} items{met}"


def numbers_of(analyses: list[StageResult]) -> dict[str, float]:
    """Every number of the analyses by its flat name."""
    return {name: value for stage in analyses for name, value in stage.metrics.items() if "/" in name}
