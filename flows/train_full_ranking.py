"""Full ranking (§6.3): from raw logs to a GenSR that generates items, compared over the whole catalogue."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from prefect import flow
from prefect.runtime import flow_run

from flows.shared.challenges import published_challenge
from flows.shared.steps import finish, prepare_data
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.evaluation.reference import REFERENCES
from gensr_model.reporting.run_facts import FULL
from tasks.core.stage import StageResult
from tasks.core.tracking import Tracked, parent_run
from tasks.evaluate.diagnose import diagnosis
from tasks.evaluate.run_data import Data, data_tasks
from tasks.promote import model_registry
from tasks.promote.card import describe
from tasks.promote.rule import require_tasks
from tasks.publish.summary import summarize_full
from tasks.train.full_ranking import finetune_full, rank_full, rank_full_reference


@flow(name="train")
def full_ranking(config: PipelineConfig) -> dict[str, Any]:
    """Train GenSR for full ranking, and publish its table with the reference rankers. Returns the summary.

    A model of all tasks in the data is registered. It serves the whole catalogue unless it is worse than the serving
    model.
    """
    with parent_run(config, "train/full-ranking", str(flow_run.id)) as run:
        data = prepare_data(run, config)
        model, ranks, summary = rank_catalogue(run, config, data)
        published = finish(run, summary, FULL)
        if set(data_tasks(data.prepared.path)) <= set(config.train.trained_tasks):
            # Last, so that the table is published even if the promotion fails.
            _challenge(run, config, data.prepared, model, ranks)
        return published


def rank_catalogue(run: Tracked, config: PipelineConfig, data: Data) -> tuple[StageResult, StageResult, dict[str, Any]]:
    """The model, its ranks, and the study's summary. gensr/full-pipeline uses them too and registers nothing."""
    model = finetune_full(run, config, data.prepared, data.cf)
    ranks = {"gensr": rank_full(run, config, data.prepared, model, option="gensr")}
    ranks |= {r: rank_full_reference(run, config, data.prepared, data.cf, option=r) for r in REFERENCES}
    summary = summarize_full(config, data, [*data.stages, model], ranks)
    summary["diagnosis"] = diagnosis(data.prepared, ranks, config.statistics, config.seed)
    return model, ranks["gensr"], summary


def _challenge(
    run: Tracked, config: PipelineConfig, prepared: StageResult, model: StageResult, ranks: StageResult
) -> None:
    """Promote the model unless it is worse than the current one, and let it rank the serving model's catalogue."""

    def rank(bundle: StageResult, note: str) -> StageResult:
        return rank_full(run, config, prepared, bundle, option="champion", note=note)

    name = model_registry.full_ranking_name(config)
    with published_challenge(nullcontext(run), config, name, "champion-full-ranking") as challenge:
        tasks = data_tasks(prepared.path)
        require_tasks(config, tasks, challenge.find_champion())
        verdict = challenge.decide(model, ranks, rank, prepared)
        if verdict.register:
            card = describe(config, prepared, ranks)
            challenge.apply(verdict, model_registry.log_model(run, model), model, None, card)
        if verdict.promote or not verdict.register:  # a rerun finishes what a failed run began
            model_registry.serve_catalogue(run, config, model, tasks)
