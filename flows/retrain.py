"""Scheduled retraining: the newest data, a new model, and a champion that only a model that is not worse replaces."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.runtime import flow_run

from flows.shared.steps import prepare_data
from gensr_model.config.pipeline import PipelineConfig
from tasks.core.tracking import parent_run, run_logger
from tasks.evaluate.rank import rank_model
from tasks.promote import model_registry
from tasks.promote.promotion import decide_promotion, require_both_tasks
from tasks.publish.publish import publish_decision
from tasks.train.finetune import finetune
from tasks.validate.drift import check_drift
from tasks.validate.profile import BINS


@flow(name="retrain")
def retrain(config: PipelineConfig) -> dict[str, Any]:
    """Train on the data as they are now and keep or replace the champion; returns the decision.

    Both models rank the new test candidates, matched by raw id. The alias ``champion`` moves only if the lower
    bound of NDCG@10 (new − champion) is above −δ on both tasks. Data that have drifted from the champion's are told of
    in the decision, or stop the run before training (``retrain.on_drift``).
    """
    require_both_tasks(config)
    name = model_registry.served_name(config)
    with parent_run(config, "retrain/nightly", str(flow_run.id)) as run:
        champion = model_registry.champion(run, name)
        data = prepare_data(run, config)
        run.artifacts(data.checks.path, (BINS,))  # what the next retraining compares its data with
        drift = check_drift(run, config, data.prepared, champion.data) if champion and champion.data else None
        new = finetune(run, config, data.prepared, data.cf, option="gensr")
        ranks = rank_model(run, config, data.prepared, new, option="gensr")
        decision = decide_promotion(
            new,
            ranks,
            champion,
            lambda bundle: rank_model(run, config, data.prepared, bundle, option="champion"),
            data.prepared,
            config,
        )
        if champion is not None and champion.bundle.key != new.key:
            decision = decision.with_drift(drift, config)
        if decision.new_version:
            full = model_registry.full_ranking_bundle(run, config)
            uri = model_registry.log_model(run, new, full)
            version = model_registry.register(run, name, uri, new, decision.says, full)
            if decision.promote:
                model_registry.promote(run, name, version, None if champion is None else champion.version)
                newest = model_registry.full_ranking_bundle(run, config)
                if newest is not None:  # it may have come while this version was made
                    model_registry.serve_catalogue(run, config, newest)
        run_logger().info(decision.says)
        return publish_decision(run.run_id, str(flow_run.id), name, decision)
