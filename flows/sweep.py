"""The search over τ and β (§6.1.3, §6.7): one factor at a time, chosen on valid, without test samples."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.runtime import flow_run

from flows.shared.side_by_side import side_by_side
from flows.shared.steps import finish, prepare_data
from gensr_model.config.pipeline import PipelineConfig, with_changes
from tasks.compare import trials
from tasks.core.stage import StageResult
from tasks.core.tracking import Tracked, parent_run
from tasks.evaluate.rank import rank_valid
from tasks.evaluate.run_data import Data
from tasks.publish import study_summary
from tasks.train.finetune import finetune


@flow(name="sweep")
def sweep(config: PipelineConfig) -> dict[str, Any]:
    """Fine-tune GenSR at every point, and publish the valid metrics and the best point. Returns the summary.

    The store holds every finished point, so a rerun resumes where a run stopped.
    """
    trials.check_sweep(config)
    with parent_run(config, "sweep/tau-beta", str(flow_run.id)) as run:
        return finish(run, search(run, config, prepare_data(run, config)), study_summary.SWEEP)


def search(run: Tracked, config: PipelineConfig, data: Data) -> dict[str, Any]:
    """The summary of the study, for gensr/full-pipeline too."""

    def train(point: trials.Point, share: int) -> tuple[StageResult, StageResult]:
        with run.child(point.name) as child:
            child.params(tau=point.tau, beta=point.beta)
            changed = with_changes(config, {"model": {"tau": point.tau, "beta": point.beta}})
            model = finetune(child, changed, data.prepared, data.cf, option="gensr", parallel_jobs=share)
            child.metrics(study_summary.best_validation(model.path))
            ranked = rank_valid(child, changed, data.prepared, model, option="gensr")
        return model._replace(label=f"finetune-{point.name}"), ranked._replace(label=f"rank-valid-{point.name}")

    points = trials.points(config)
    results = side_by_side(train, points, config.sweep.concurrency)
    return study_summary.summarize_sweep(config, data, dict(zip(points, results, strict=True)))
