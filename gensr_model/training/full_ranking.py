"""Train GenSR to generate the item itself (§6.3) and write the model bundle."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from gensr_model.config.pipeline import PipelineConfig
from gensr_model.config.training import TrainConfig
from gensr_model.data.prepared import PreparedDataset
from gensr_model.evaluation.catalogue import model_scorer, rank_catalogue
from gensr_model.evaluation.scoring import fixed_subset
from gensr_model.models import bundle
from gensr_model.models.full_ranking import FullRanking
from gensr_model.runtime.progress import NullReport, Report
from gensr_model.training.fitting import TrainingSpec, fit_bundle

KIND = "full_ranking"


def train(
    dataset: PreparedDataset,
    cf_folder: Path,
    config: PipelineConfig,
    checkpoints: Path,
    out: Path,
    report: Report,
) -> dict[str, float]:
    """Train, early stopped on the mean valid NDCG@10 over the whole catalogue; see ``fit_bundle`` for the files."""
    course = TrainingSpec(KIND, training_settings(config), "ndcg_at_10", Validation(dataset, config))
    return fit_bundle(course, dataset, cf_folder, config, checkpoints, out, report)


def training_settings(config: PipelineConfig) -> TrainConfig:
    """``train`` with what full ranking has of its own, and no negatives: the softmax has them."""
    own = config.full_ranking
    return config.train.model_copy(
        update={"epochs": own.epochs, "batch_size": own.batch_size, "negatives": 0}
    )


class Validation:
    """Ranks of the fixed validation samples among all items."""

    def __init__(self, dataset: PreparedDataset, config: PipelineConfig) -> None:
        every = dataset.samples("valid")
        self.dataset, self.config = dataset, config
        rows = fixed_subset(every, config.full_ranking.valid_samples, config.train.trained_tasks)
        self.samples = every.take(rows)

    def __call__(self, model: bundle.Model) -> pa.Table:
        assert isinstance(model, FullRanking)
        return rank_catalogue(
            model_scorer(model, self.dataset),
            self.dataset,
            self.samples,
            self.config.full_ranking,
            self.config.evaluation.batch_size,
            NullReport(),
        )
