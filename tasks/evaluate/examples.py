"""Stage 9: ten rankings of GenSR in words, for the report."""

from __future__ import annotations

from pathlib import Path

from gensr_model.config.pipeline import PipelineConfig
from gensr_model.data.prepared import PreparedDataset
from gensr_model.evaluation.examples import example_rankings
from gensr_model.runtime.files import write_json
from tasks.core.stage import stage
from tasks.core.work import Work
from tasks.evaluate.rank import OTHER_MODELS

EXAMPLES = "examples.json"
_PER_TASK = 5


@stage(
    "examples",
    config=("evaluation.protocol", "evaluation.batch_size", "evaluation.max_test_samples", "seed", "train.tasks"),
    artifacts=(EXAMPLES,),
    skip={"": OTHER_MODELS["gensr"]},
    splits=("test",),
)
def draw_examples(work: Work, config: PipelineConfig, prepared: Path, bundle: Path) -> None:
    """Reads the prepared dataset and GenSR's bundle; writes five rankings of each task."""
    dataset = PreparedDataset.open(prepared)
    write_json(work.out / EXAMPLES, example_rankings(bundle, dataset, config, _PER_TASK, work.report))
