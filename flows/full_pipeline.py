"""The whole pipeline: raw search and recommendation logs in; a trained, compared and explained GenSR out."""

from __future__ import annotations

from typing import Any, NamedTuple

from prefect import flow
from prefect.runtime import flow_run

from gensr_model.config import PipelineConfig
from gensr_model.evaluation.reference import REFERENCES
from tasks.analyze import analyze_gradients, analyze_information, analyze_space, analyze_theorem
from tasks.data import check_prepared, check_raw, find_source, ingest, prepare
from tasks.diagnose import diagnosis
from tasks.evaluate import rank_model, rank_reference
from tasks.examples import draw_examples
from tasks.finetune import MODELS, finetune
from tasks.pretrain import pretrain
from tasks.publish import publish, publish_profile
from tasks.registry import full_ranking_bundle, log_model
from tasks.report import write_report
from tasks.rivals import rank_system, train_system
from tasks.stage import StageResult
from tasks.summary import numbers_of, summarize_run
from tasks.tracking import Tracked, parent_run


class Data(NamedTuple):
    """What every model is trained from."""

    source: StageResult
    prepared: StageResult
    checks: StageResult  # of prepared: its profile, and the bins that later data are compared with
    cf: StageResult
    stages: list[StageResult]  # all that ran, in order, for the summary


@flow(name="gensr")
def full_pipeline(config: PipelineConfig) -> dict[str, Any]:
    """Train GenSR and its comparators on the configured data and publish the comparison; returns the summary."""
    with parent_run(config, "gensr/full-pipeline", str(flow_run.id)) as run:
        data = prepare_data(run, config)
        trained = {model: finetune(run, config, data.prepared, data.cf, option=model) for model in MODELS}
        ranks = {m: rank_model(run, config, data.prepared, trained[m], option=m) for m in MODELS}
        stages = [*data.stages, *trained.values()]
        if config.analyses_unisar(full_pipeline=True):
            unisar = train_system(run, config, data.prepared, "unisar", tune=bool(config.rerank.tune))
            trained["unisar"] = unisar.result
            ranks["unisar"] = rank_system(run, config, data.prepared, unisar.result, "unisar")
            stages += unisar.stages
        ranks |= {r: rank_reference(run, config, data.prepared, data.cf, option=r) for r in REFERENCES}
        analyses = analyze_all(run, config, data, list(trained.values())) if config.analysis.enabled else []
        log_model(run, trained["gensr"], full_ranking_bundle(run, config))
        examples = draw_examples(run, config, data.prepared, trained["gensr"])
        stages += [*analyses, examples]
        summary = summarize_run(config, data.source, stages, ranks, numbers_of(analyses))
        summary["diagnosis"] = diagnosis(data.prepared, ranks)
        published = publish(run.run_id, str(flow_run.id), summary, report=True)
        write_report(run.run_id, str(flow_run.id), published)
        return published


def prepare_data(run: Tracked, config: PipelineConfig) -> Data:
    """Raw files to a validated dataset and its collaborative table; shared with retraining."""
    source = find_source(config)
    run.tags(dataset_digest=source.key)
    raw = ingest(run, config, source)
    raw_checks = check_raw(run, config, raw)
    prepared = prepare(run, config, raw)
    checks = check_prepared(run, config, prepared)
    publish_profile(run.run_id, raw=str(raw_checks.path), prepared=str(checks.path))
    cf = pretrain(run, config, prepared)
    return Data(source, prepared, checks, cf, [raw, raw_checks, prepared, checks, cf])


def analyze_all(
    run: Tracked, config: PipelineConfig, data: Data, models: list[StageResult]
) -> list[StageResult]:
    """The analyses that the config asks for, on trained models; shared with analyze/mechanisms."""
    wanted, inputs, found = config.analysis, (data.prepared, data.cf, *models), []
    if wanted.information:
        found.append(analyze_information(run, config, *inputs))
    if wanted.gradients:
        found.append(analyze_gradients(run, config, *models))
    if wanted.space and config.train.tasks == "both":  # it asks whether the tasks lie apart
        found.append(analyze_space(run, config, *inputs))
    if wanted.theorem:
        found.append(analyze_theorem(run, config))
    return found
