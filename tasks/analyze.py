"""Stage 8: what the trained models' answers tell about their input, and whether their tasks pull together."""

from __future__ import annotations

from pathlib import Path

from gensr_model.analysis import analyze as analysis
from gensr_model.config import PipelineConfig
from gensr_model.data.prepared import PreparedDataset
from tasks.finetune import MODELS
from tasks.stage import Work, stage


@stage(
    "analyze",
    code=("tasks/analyze.py",),
    config=(
        "analysis",
        "model",
        "seed",
        "train.tasks",
        "train.two_head_gamma",
        "evaluation.protocol",
        "evaluation.batch_size",
    ),
    artifacts=("*.json", "*.png"),
)
def analyze(work: Work, config: PipelineConfig, prepared: Path, cf: Path, *bundles: Path) -> dict[str, float]:
    """Reads the prepared dataset, the LightGCN table and the bundles of ``MODELS``, in that order.

    Writes numbers and figures of mutual information (§6.4.1) and of gradient conflict (§6.5).
    """
    dataset = PreparedDataset.open(prepared)
    named = dict(zip(MODELS, bundles, strict=True))
    return analysis.analyze(dataset, cf, named, config, work.out, work.report)
