"""The ablation study (§6.6): GenSR beside GenSR without one of its parts, on the same data and candidates."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.runtime import flow_run

from flows.shared.side_by_side import side_by_side
from flows.shared.steps import finish, prepare_data
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.config.variants import VARIANTS
from tasks.compare import trials
from tasks.core.stage import StageResult
from tasks.core.tracking import Tracked, parent_run
from tasks.evaluate.rank import rank_model
from tasks.evaluate.run_data import Data
from tasks.publish import study_summary
from tasks.train.finetune import finetune
from tasks.train.pretrain import pretrain


@flow(name="ablation")
def ablation(config: PipelineConfig) -> dict[str, Any]:
    """Train and rank every variant with every seed, and publish each part's contribution. Returns the summary.

    The store holds every finished stage, so a rerun resumes where a run stopped. The variant ``gensr`` is the model of
    gensr/full-pipeline.
    """
    trials.check_ablation(config)
    with parent_run(config, "ablation/paper", str(flow_run.id)) as run:
        return finish(run, ablate(run, config, prepare_data(run, config)), study_summary.ABLATION)


def ablate(run: Tracked, config: PipelineConfig, data: Data) -> dict[str, Any]:
    """The summary of the study, for gensr/full-pipeline too."""

    def train(trial: trials.Trial, share: int) -> tuple[StageResult, StageResult]:
        changed = trials.trial_config(config, trial)
        with run.child(trial.name) as child:
            child.params(variant=trial.variant, seed=trial.seed, changes=VARIANTS[trial.variant].changes)
            cf = pretrain(child, changed, data.prepared, parallel_jobs=share)
            model = finetune(child, changed, data.prepared, cf, option="gensr", parallel_jobs=share)
            ranked = rank_model(child, changed, data.prepared, model, option=trial.variant)
            child.metrics(ranked.metrics)
        return model._replace(label=f"finetune-{trial.name}"), ranked._replace(label=f"evaluate-{trial.name}")

    planned = trials.trials(config)
    results = side_by_side(train, planned, config.ablation.concurrency)
    ranks = {trial.name: ranked for trial, (_, ranked) in zip(planned, results, strict=True)}
    trained = [model for model, _ in results]
    return study_summary.summarize_ablation(config, data, [*data.stages, *trained], ranks)
