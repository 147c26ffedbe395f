"""Steps that several flows share: prepare the data, analyse trained models, and publish the results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
from prefect.runtime import flow_run

from gensr_model.config.pipeline import PipelineConfig
from tasks.core.stage import StageResult
from tasks.core.tracking import Tracked
from tasks.evaluate.analyze import analyze_gradients, analyze_information, analyze_space, analyze_theorem
from tasks.evaluate.run_data import Data
from tasks.ingest.ingest import find_source, ingest
from tasks.prepare.prepare import prepare
from tasks.publish.publish import publish, publish_profile
from tasks.publish.report import write_report
from tasks.train.pretrain import pretrain
from tasks.validate.check import check_data
from tasks.validate.validate import check_prepared, check_raw


def prepare_data(run: Tracked, config: PipelineConfig) -> Data:
    """From raw files to a validated dataset and its CF table."""
    source = find_source(config)
    run.tags(dataset_digest=source.key)
    raw = ingest(run, config, source)
    checked = check_data(run, config, raw)
    raw_checks = check_raw(run, config, raw)
    prepared = prepare(run, config, raw)
    run.reads(config.name, prepared.path)
    checks = check_prepared(run, config, prepared)
    publish_profile(run.run_id, raw=str(raw_checks.path), prepared=str(checks.path))
    cf = pretrain(run, config, prepared)
    return Data(source, prepared, checks, cf, [raw, checked, raw_checks, prepared, checks, cf])


def analyze_all(run: Tracked, config: PipelineConfig, data: Data, models: list[StageResult]) -> list[StageResult]:
    """Run the configured analyses on trained models."""
    wanted, inputs, analyses = config.analysis, (data.prepared, data.cf, *models), []
    if "information" in wanted.parts:
        analyses.append(analyze_information(run, config, *inputs))
    if "gradients" in wanted.parts:
        analyses.append(analyze_gradients(run, config, *models))
    if "space" in wanted.parts and config.train.tasks == "both":  # the analysis compares both tasks
        analyses.append(analyze_space(run, config, *inputs))
    if "theorem" in wanted.parts:
        analyses.append(analyze_theorem(run, config))
    return analyses


def finish(
    run: Tracked, summary: dict[str, Any], key: str = "summary", tables: Mapping[str, pa.Table] | None = None
) -> dict[str, Any]:
    """Publish the summary of this flow run as the artifact ``key``, with tables and report. Returns the published
    summary.
    """
    flow_run_id = str(flow_run.id)
    published = publish(run.run_id, flow_run_id, summary, key, tables or {})
    write_report(run.run_id, flow_run_id, published)
    return published
