"""The paper's explanation of GenSR, measured: mutual information, gradient conflict, parameter space, Theorem 4.1."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.runtime import flow_run

from flows.full_pipeline import analyze_all, prepare_data
from gensr_model.config import PipelineConfig
from tasks.finetune import MODELS, finetune
from tasks.publish import publish_mechanisms
from tasks.rivals import train_system
from tasks.tracking import parent_run


@flow(name="analyze")
def mechanisms(config: PipelineConfig) -> dict[str, Any]:
    """Train GenSR and its discriminative comparators, or find them trained, and publish the analyses of all."""
    with parent_run(config, "analyze/mechanisms", str(flow_run.id)) as run:
        data = prepare_data(run, config)
        trained = [finetune(run, config, data.prepared, data.cf, option=model) for model in MODELS]
        stages = [*data.stages, *trained]
        if config.analyses_unisar():
            unisar = train_system(run, config, data.prepared, "unisar", tune=bool(config.rerank.tune))
            trained.append(unisar.result)
            stages += unisar.stages
        analyses = analyze_all(run, config, data, trained)
        return publish_mechanisms(run.run_id, str(flow_run.id), config, stages, analyses)
