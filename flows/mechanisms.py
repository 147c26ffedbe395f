"""The paper's explanation of GenSR, measured: mutual information, gradient conflict, parameter space, Theorem 4.1."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.runtime import flow_run

from flows.shared.steps import analyze_all, finish, prepare_data
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.reporting.run_facts import MECHANISMS as KEY  # key of the artifact
from tasks.compare.baselines import train_baseline_stages
from tasks.compare.names import check_points
from tasks.core.tracking import parent_run
from tasks.publish.summary import numbers_of, summarize_run
from tasks.train.finetune import MODELS, finetune


@flow(name="analyze")
def mechanisms(config: PipelineConfig) -> dict[str, Any]:
    """Train GenSR, the two-head model and UniSAR, or reuse them, and publish the analyses of all."""
    check_points(config)
    with parent_run(config, "analyze/mechanisms", str(flow_run.id)) as run:
        data = prepare_data(run, config)
        trained = [finetune(run, config, data.prepared, data.cf, option=model) for model in MODELS]
        stages = [*data.stages, *trained]
        if config.analyses_unisar():
            unisar = train_baseline_stages(run, config, data.prepared, "unisar", tune=bool(config.rerank.tune))
            trained.append(unisar.result)
            stages += unisar.stages
        analyses = analyze_all(run, config, data, trained)
        summary = summarize_run(config, data, [*stages, *analyses], {}, numbers_of(analyses))
        return finish(run, summary | {"study": KEY}, KEY)
