"""The paper's Table 4 and more: every system that can rank the whole catalogue, with the configured seeds."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.shared.system_table import make_table
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.reporting.run_facts import FULL_TABLE


@flow(name="compare")
def full_ranking_table(config: PipelineConfig) -> dict[str, Any]:
    """Rank as ``compare/rerank-table`` does, but among all items.

    The systems are references, GenSR in full ranking, and dense and generative baselines. The section ``rerank`` holds
    the systems and their budget; systems that only rank given candidates are left out. A baseline is trained anew for
    this table, because its NDCG@10 over the whole catalogue chooses it on valid.
    """
    return make_table(config, FULL_TABLE)
