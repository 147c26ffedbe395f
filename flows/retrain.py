"""Scheduled retraining: the newest data, a new model, and a champion that only a model that is not worse replaces."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.runtime import flow_run

from flows.shared.challenges import published_challenge
from flows.shared.steps import prepare_data
from gensr_model.config.pipeline import PipelineConfig
from tasks.core.stage import StageResult
from tasks.core.tracking import parent_run
from tasks.evaluate.rank import rank_model
from tasks.evaluate.run_data import data_tasks
from tasks.promote import model_registry
from tasks.promote.record import LATEST
from tasks.promote.rule import require_tasks
from tasks.train.finetune import finetune
from tasks.validate.drift import check_drift
from tasks.validate.profile import BINS


@flow(name="retrain")
def retrain(config: PipelineConfig) -> dict[str, Any]:
    """Train on the data as they are now and keep or replace the champion; returns the decision.

    New model, champion and anchors rank the new test candidates, matched by raw id. ``non_inferiority`` in
    ``tasks/promote/rule.py`` is the rule. Data that have drifted from the champion's are named in the decision, or
    stop the run before training (``retrain.on_drift``). A run that fails records and publishes its decision, too.
    """
    name = model_registry.served_name(config)
    opened = parent_run(config, "retrain/nightly", str(flow_run.id))
    with published_challenge(opened, config, name, "champion", LATEST) as challenge:
        run = challenge.run
        champion = challenge.find_champion()
        data = prepare_data(run, config)
        tasks = data_tasks(data.prepared.path)
        require_tasks(config, tasks, champion)
        run.artifacts(data.checks.path, (BINS,))  # what the next retraining compares its data with
        drift = check_drift(run, config, data.prepared, champion.data) if champion and champion.data else None
        new = finetune(run, config, data.prepared, data.cf, option="gensr")
        ranks = rank_model(run, config, data.prepared, new, option="gensr")

        def rank(bundle: StageResult, note: str) -> StageResult:
            return rank_model(run, config, data.prepared, bundle, option="champion", note=note)

        verdict = challenge.decide(new, ranks, rank, data.prepared, drift)
        if verdict.register:
            full = model_registry.full_ranking_bundle(run, config, tasks)
            challenge.apply(verdict, model_registry.log_model(run, new, full), new, full)
        if verdict.promote:
            newest = model_registry.full_ranking_bundle(run, config, tasks)
            if newest is not None:  # it may have come while this version was made
                model_registry.serve_catalogue(run, config, newest, tasks)
    return challenge.decision.model_dump(mode="json")
