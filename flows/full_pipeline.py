"""The whole pipeline: from raw search and recommendation logs to a trained, compared and explained GenSR."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.runtime import flow_run

from flows.pipeline_studies import check_studies, make_studies
from flows.shared.steps import analyze_all, finish, prepare_data
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.evaluation.reference import REFERENCES
from tasks.compare.baselines import rank_baseline_stage, train_baseline_stages
from tasks.core.tracking import parent_run
from tasks.evaluate.diagnose import diagnosis
from tasks.evaluate.examples import draw_examples
from tasks.evaluate.rank import rank_model, rank_reference
from tasks.evaluate.run_data import data_tasks
from tasks.promote.model_registry import full_ranking_bundle, log_model
from tasks.publish.summary import numbers_of, summarize_run
from tasks.train.finetune import MODELS, finetune


@flow(name="gensr")
def full_pipeline(config: PipelineConfig) -> dict[str, Any]:
    """Train GenSR and the other systems on the configured data, and publish the comparison. Returns the summary.

    ``studies`` in the config adds studies on the same data, which reuse finished trainings. Where a study fails, the
    run publishes everything else and then fails.
    """
    fan = check_studies(config)
    with parent_run(config, "gensr/full-pipeline", str(flow_run.id)) as run:
        data = prepare_data(run, config)
        trained = {model: finetune(run, config, data.prepared, data.cf, option=model) for model in MODELS}
        ranks = {m: rank_model(run, config, data.prepared, trained[m], option=m) for m in MODELS}
        stages = [*data.stages, *trained.values()]
        if config.analyses_unisar(full_pipeline=True):
            unisar = train_baseline_stages(run, config, data.prepared, "unisar", tune=bool(config.rerank.tune))
            trained["unisar"] = unisar.result
            ranks["unisar"] = rank_baseline_stage(run, config, data.prepared, unisar.result, "unisar")
            stages += unisar.stages
        ranks |= {r: rank_reference(run, config, data.prepared, data.cf, option=r) for r in REFERENCES}
        analyses = analyze_all(run, config, data, list(trained.values())) if config.analysis.enabled else []
        log_model(run, trained["gensr"], full_ranking_bundle(run, config, data_tasks(data.prepared.path)))
        examples = draw_examples(run, config, data.prepared, trained["gensr"])
        stages += [*analyses, examples]
        summary = summarize_run(config, data, stages, ranks, numbers_of(analyses))
        summary["diagnosis"] = diagnosis(data.prepared, ranks, config.statistics, config.seed)
        made = make_studies(run, config, data, fan)
        published = finish(run, summary | made.entries())
        made.raise_failure()
        return published
