"""Stage 5: the collaborative table that GenSR's CF view starts from."""

from __future__ import annotations

from pathlib import Path

from gensr_model.config import PipelineConfig
from gensr_model.data.prepared import PreparedDataset
from gensr_model.training import cross_fit, lightgcn
from tasks.stage import Work, stage


@stage(
    "pretrain",
    code=("tasks/pretrain.py",),
    config=("lightgcn", "seed"),
    artifacts=("*.safetensors", "*.json"),
)
def pretrain(work: Work, config: PipelineConfig, prepared: Path) -> dict[str, float]:
    """Reads the prepared dataset; writes ``lightgcn.safetensors``, and ``folds.safetensors`` where they are wanted."""
    dataset, settings = PreparedDataset.open(prepared), config.lightgcn
    found = lightgcn.pretrain(dataset, settings, config.seed, work.out, work.report)
    if settings.folds:
        common, epochs = lightgcn.load(work.out), max(1, int(found["best_epoch"]))
        found |= cross_fit.cross_fit(dataset, settings, config.seed, epochs, common, work.out, work.report)
    return found
