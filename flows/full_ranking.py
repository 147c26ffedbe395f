"""Full ranking (§6.3): raw logs in; a GenSR that names the item itself, compared over the whole catalogue."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.runtime import flow_run

from flows.full_pipeline import prepare_data
from gensr_model.config import PipelineConfig
from gensr_model.evaluation.reference import REFERENCES
from tasks.full_ranking import KEY, finetune_full, rank_full, rank_full_reference, summarize_full
from tasks.publish import publish
from tasks.tracking import parent_run


@flow(name="train")
def full_ranking(config: PipelineConfig) -> dict[str, Any]:
    """Train GenSR for full ranking and publish its table beside the reference rankers'; returns the summary."""
    with parent_run(config, "train/full-ranking", str(flow_run.id)) as run:
        data = prepare_data(run, config)
        model = finetune_full(run, config, data.prepared, data.cf)
        ranks = {"gensr": rank_full(run, config, data.prepared, model, option="gensr")}
        ranks |= {r: rank_full_reference(run, config, data.prepared, data.cf, option=r) for r in REFERENCES}
        summary = summarize_full(config, data.source, [*data.stages, model], ranks)
        return publish(run.run_id, str(flow_run.id), summary, KEY)
