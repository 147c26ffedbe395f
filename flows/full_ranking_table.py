"""The paper's Table 4 and more: every system that can rank the whole catalogue, over the seeds named."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.shared.system_table import make_table
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.reporting.run_facts import FULL_TABLE


@flow(name="compare")
def full_ranking_table(config: PipelineConfig) -> dict[str, Any]:
    """As ``compare/rerank-table``, among all items: references, GenSR in full ranking, dense and generative baselines.

    The section ``rerank`` has its systems and budget; those that rank given candidates alone are left out. A baseline
    is trained for this table anew, as its catalogue NDCG@10 on valid chooses it.
    """
    return make_table(config, FULL_TABLE)
