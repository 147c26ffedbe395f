"""Semantic ids of the items, for generators that name an item by its codes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gensr_model.config.pipeline import PipelineConfig
from gensr_model.data.prepared import PreparedDataset
from gensr_model.runtime.stage_folder import folder_digest
from gensr_model.training.semantic_ids import make_semantic_ids
from tasks.core.stage import stage
from tasks.core.work import Work


def _t5_files(config: PipelineConfig) -> dict[str, Any]:
    """The content of a T5's folder, because its name alone does not determine the vectors."""
    folder = Path(config.semantic_ids.vectors)
    return {"t5": folder_digest(folder)} if folder.is_dir() else {}


@stage(
    "semantic-ids", config=("semantic_ids", "model.text", "seed"), artifacts=("*",), facts=_t5_files, splits=("train",)
)
def semantic_ids(work: Work, config: PipelineConfig, prepared: Path, cf: Path | None = None) -> dict[str, float]:
    """Reads the prepared dataset, and the LightGCN table if ``semantic_ids.vectors`` is cf; writes the codes."""
    work.checkpoints.mkdir(parents=True, exist_ok=True)
    dataset = PreparedDataset.open(prepared)
    return make_semantic_ids(dataset, cf, config, work.checkpoints, work.out, work.report)
