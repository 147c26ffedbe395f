"""The paper's explanation of GenSR, measured: mutual information, gradient conflict, parameter space, Theorem 4.1."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.runtime import flow_run

from flows.own_models import train_models
from flows.shared import analyze_all, finish, prepare_data
from gensr_model.config import PipelineConfig
from gensr_model.reporting.run_facts import MECHANISMS as KEY  # of the artifact
from tasks.summary import numbers_of, summarize_run
from tasks.tracking import parent_run


@flow(name="analyze")
def mechanisms(config: PipelineConfig) -> dict[str, Any]:
    """Train GenSR and its discriminative comparators, or find them trained, and publish the analyses of all."""
    with parent_run(config, "analyze/mechanisms", str(flow_run.id)) as run:
        data = prepare_data(run, config)
        made = train_models(run, config, data, unisar=config.analyses_unisar())
        stages = [*data.stages, *(stage for found in made.values() for stage in found.stages)]
        analyses = analyze_all(run, config, data, [found.result for found in made.values()])
        summary = summarize_run(config, data, [*stages, *analyses], {}, numbers_of(analyses))
        return finish(run, summary | {"study": KEY}, KEY)
