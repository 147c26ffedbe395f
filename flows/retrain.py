"""Scheduled retraining: train on the newest data, and replace the champion only by a model that is not worse."""

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
from tasks.evaluate.run_data import data_tasks, unranked_tasks
from tasks.promote import model_registry
from tasks.promote.card import describe
from tasks.promote.record import LATEST
from tasks.promote.rule import require_tasks
from tasks.train.finetune import finetune
from tasks.validate.drift import check_drift
from tasks.validate.profile import BINS


@flow(name="retrain")
def retrain(config: PipelineConfig) -> dict[str, Any]:
    """Train on the current data, and keep or replace the champion. Returns the decision.

    New model, champion and anchors rank the new test candidates, matched by raw id. The rule is ``non_inferiority`` in
    ``tasks/promote/rule.py``. Where data have drifted from the champion's, the decision names them, or the run stops
    before training (``retrain.on_drift``). A run that fails also records and publishes its decision.
    """
    name = model_registry.served_name(config)
    opened = parent_run(config, "retrain/nightly", str(flow_run.id))
    with published_challenge(opened, config, name, "champion", LATEST) as challenge:
        run = challenge.run
        champion = challenge.find_champion()
        data = prepare_data(run, config)
        tasks = data_tasks(data.prepared.path)
        unranked = unranked_tasks(data.prepared.path, config.evaluation.protocol)
        require_tasks(config, tasks, champion, unranked)
        run.artifacts(data.checks.path, (BINS,))  # the next retraining compares its data with these bins
        drift = check_drift(run, config, data.prepared, champion.data) if champion and champion.data else None
        new = finetune(run, config, data.prepared, data.cf, option="gensr")
        ranks = rank_model(run, config, data.prepared, new, option="gensr")

        def rank(bundle: StageResult, note: str) -> StageResult:
            return rank_model(run, config, data.prepared, bundle, option="champion", note=note)

        verdict = challenge.decide(new, ranks, rank, data.prepared, drift)
        if verdict.register:
            full = model_registry.full_ranking_bundle(run, config, tasks)
            card = describe(config, data.prepared, ranks)
            challenge.apply(verdict, model_registry.log_model(run, new, full), new, full, card)
        if verdict.promote:
            newest = model_registry.full_ranking_bundle(run, config, tasks)
            if newest is not None:  # it may have become champion during this run
                model_registry.serve_catalogue(run, config, newest, tasks)
    return challenge.decision.model_dump(mode="json")
