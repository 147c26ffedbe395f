"""Stage 5: the CF table from which GenSR's CF view starts."""

from __future__ import annotations

from pathlib import Path

from gensr_model.config.pipeline import PipelineConfig
from gensr_model.data.prepared import PreparedDataset
from gensr_model.training import cross_fit
from tasks.core.stage import stage
from tasks.core.work import Work


@stage(
    "pretrain",
    config=("lightgcn", "model.departures.folds", "seed"),
    artifacts=("*.safetensors", "*.json"),
    splits=("train", "valid"),
)
def pretrain(work: Work, config: PipelineConfig, prepared: Path) -> dict[str, float]:
    """Reads the prepared dataset; writes ``lightgcn.safetensors``, and ``folds.safetensors`` where the config has
    folds.
    """
    return cross_fit.pretrain(PreparedDataset.open(prepared), config, work.out, work.report)
