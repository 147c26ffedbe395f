"""The paper's Tables 2 and 3: every re-ranking system on the same candidates, with the configured seeds."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.shared.system_table import make_table
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.reporting.run_facts import RERANK


@flow(name="compare")
def rerank_table(config: PipelineConfig) -> dict[str, Any]:
    """Train and rank all systems, or those of ``rerank.systems``, and publish the table. Returns the summary.

    A system that fails is a row with its error. Finished systems are not trained again.
    """
    return make_table(config, RERANK)
