"""The summary of full ranking (§6.3)."""

from __future__ import annotations

from typing import Any

from gensr_model.config.pipeline import PipelineConfig
from tasks.core.stage import StageResult
from tasks.evaluate.run_data import Data
from tasks.publish.summary import summarize_run

KEY = "full-ranking"  # of the artifact, and of saved files


def summarize_full(
    config: PipelineConfig, data: Data, stages: list[StageResult], ranks: dict[str, StageResult]
) -> dict[str, Any]:
    """The summary of a run whose lists are the whole catalogue."""
    items = int(ranks["gensr"].metrics["items"])
    met = ", without those the user had met" if config.full_ranking.mask_met else ""
    among = f"all {items:,} items{met}"
    return summarize_run(config, data, stages, ranks, {}) | {"study": KEY, "among": among}
