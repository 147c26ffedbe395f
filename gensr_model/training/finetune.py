"""Fine-tune GenSR (§5.2), or its discriminative compared system (Eq. 1), and write the model bundle."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from gensr_model.config.pipeline import PipelineConfig
from gensr_model.data.prepared import PreparedDataset
from gensr_model.errors import ConfigError
from gensr_model.evaluation.metrics import ranks_table
from gensr_model.evaluation.scoring import fixed_subset, score_samples
from gensr_model.models import bundle
from gensr_model.runtime.progress import NullReport, Report
from gensr_model.training.fitting import TrainingSpec, fit_bundle


def finetune(
    dataset: PreparedDataset,
    cf_folder: Path,
    config: PipelineConfig,
    checkpoints: Path,
    out: Path,
    report: Report,
) -> dict[str, float]:
    """Train GenSR, early stopped on the mean valid NDCG@5 of both tasks; see ``fit_bundle`` for the files."""
    return _train("gensr", dataset, cf_folder, config, config.train.epochs, checkpoints, out, report)


def train_two_head(
    dataset: PreparedDataset,
    cf_folder: Path,
    config: PipelineConfig,
    checkpoints: Path,
    out: Path,
    report: Report,
) -> dict[str, float]:
    """Train the shared-encoder, two-head model of Eq. 1 in the same way."""
    return _train(
        "two_head", dataset, cf_folder, config, config.train.two_head_epochs, checkpoints, out, report
    )


TRAIN = {"gensr": finetune, "two_head": train_two_head}  # by the model's name


def _train(
    kind: str,
    dataset: PreparedDataset,
    cf_folder: Path,
    config: PipelineConfig,
    epochs: int,
    checkpoints: Path,
    out: Path,
    report: Report,
) -> dict[str, float]:
    course = TrainingSpec(
        kind,
        config.train.model_copy(update={"epochs": epochs}),
        "ndcg_at_5",
        Validation(dataset, config),
        config.analysis.gradient_every,
    )
    return fit_bundle(course, dataset, cf_folder, config, checkpoints, out, report)


class Validation:
    """Ranks of the fixed validation samples among their frozen candidates, of the trained tasks that have any."""

    def __init__(self, dataset: PreparedDataset, config: PipelineConfig) -> None:
        every, negatives = dataset.evaluated("valid", config.evaluation.protocol)
        rows = fixed_subset(every, config.train.valid_samples, config.train.trained_tasks)
        if len(rows) == 0:
            raise ConfigError(
                f"train.tasks is {config.train.tasks!r}, but no valid sample of it has "
                f"{config.evaluation.protocol!r} candidates to choose the best weights by"
            )
        self.dataset, self.config = dataset, config
        self.samples, self.negatives = every.take(rows), negatives[rows]

    def __call__(self, model: bundle.Model) -> pa.Table:
        scores = score_samples(
            model,
            self.dataset,
            self.samples,
            self.negatives,
            max_history=self.config.model.max_history,
            batch_size=self.config.evaluation.batch_size,
            report=NullReport(),
            precision=self.config.evaluation.precision,
        )
        return ranks_table(self.samples.sample_id, self.samples.task_names, scores)
