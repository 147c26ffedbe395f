"""Fine-tune GenSR (§5.2), its discriminative counterpart (Eq. 1) or full ranking (§6.3), and write the bundle."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from gensr_model.config.pipeline import PipelineConfig
from gensr_model.config.training import TrainConfig
from gensr_model.data.batches import BatchBuilder
from gensr_model.data.prepared import PreparedDataset
from gensr_model.errors import ConfigError
from gensr_model.evaluation.catalogue import model_scorer, rank_catalogue
from gensr_model.evaluation.scoring import fixed_subset, lists_of, rank_samples
from gensr_model.models import bundle
from gensr_model.models.full_ranking import FullRanking
from gensr_model.runtime.progress import NullReport, Report
from gensr_model.training.fitting import TrainingSpec, fit_bundle


def finetune(
    dataset: PreparedDataset, cf_folder: Path, config: PipelineConfig, checkpoints: Path, out: Path, report: Report
) -> dict[str, float]:
    """Train GenSR with early stopping on the mean valid NDCG@5 of both tasks. ``fit_bundle`` lists the files."""
    spec = _candidate_spec("gensr", dataset, config, config.train.epochs)
    return fit_bundle(spec, dataset, cf_folder, config, checkpoints, out, report)


def train_two_head(
    dataset: PreparedDataset, cf_folder: Path, config: PipelineConfig, checkpoints: Path, out: Path, report: Report
) -> dict[str, float]:
    """Train the two-head model of Eq. 1, with a shared encoder, in the same way."""
    spec = _candidate_spec("two_head", dataset, config, config.train.two_head_epochs)
    return fit_bundle(spec, dataset, cf_folder, config, checkpoints, out, report)


TRAIN = {"gensr": finetune, "two_head": train_two_head}  # by the model's name


def train_full_ranking(
    dataset: PreparedDataset, cf_folder: Path, config: PipelineConfig, checkpoints: Path, out: Path, report: Report
) -> dict[str, float]:
    """Train GenSR to generate the item, with early stopping on the mean valid NDCG@10 over the whole catalogue."""
    validation = CatalogueValidation(dataset, config)
    spec = TrainingSpec("full_ranking", full_ranking_settings(config), "ndcg_at_10", validation)
    return fit_bundle(spec, dataset, cf_folder, config, checkpoints, out, report)


def _candidate_spec(kind: str, dataset: PreparedDataset, config: PipelineConfig, epochs: int) -> TrainingSpec:
    settings = config.train.model_copy(update={"epochs": epochs})
    validation = CandidateValidation(dataset, config)
    return TrainingSpec(kind, settings, "ndcg_at_5", validation, config.analysis.gradient_every)


def full_ranking_settings(config: PipelineConfig) -> TrainConfig:
    """``train`` with the epochs and batches of ``full_ranking``.

    There are no negatives: the softmax covers all items.
    """
    full = config.full_ranking
    changes = {"epochs": full.epochs, "batch_size": full.batch_size, "negatives": 0}
    return config.train.model_copy(update=changes)


class CandidateValidation:
    """Ranks of the fixed validation samples among their frozen candidates, for trained tasks with candidates."""

    def __init__(self, dataset: PreparedDataset, config: PipelineConfig) -> None:
        train, self.how = config.train, config.evaluation
        self.lists = lists_of(dataset, "valid", self.how.protocol, train.trained_tasks, train.valid_samples)
        if len(self.lists.samples) == 0:
            raise ConfigError(
                f"train.tasks is {train.tasks!r}, but no valid sample of it has {self.how.protocol!r} "
                "candidates to choose the best weights by. Choose another evaluation.protocol or "
                "other train.tasks."
            )
        self.builder = BatchBuilder(dataset, config.model.max_history)

    def __call__(self, model: bundle.Model) -> pa.Table:
        how = self.how
        return rank_samples(model, self.builder, self.lists, how.batch_size, NullReport(), how.precision)


class CatalogueValidation:
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
