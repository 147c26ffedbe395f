"""Train GenSR to generate the item itself (§6.3) and write the model bundle."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gensr_model.config import TASKS, PipelineConfig, TrainConfig
from gensr_model.data.prepared import PreparedDataset
from gensr_model.evaluation.catalogue import model_scorer, rank_catalogue
from gensr_model.evaluation.metrics import summarize
from gensr_model.evaluation.scoring import fixed_subset
from gensr_model.files import write_json
from gensr_model.models.full_ranking import FullRanking
from gensr_model.report import NullReport, Report
from gensr_model.training import bundle
from gensr_model.training.trainer import TrainingData, fit, make_accelerator

KIND = "full_ranking"


def train(
    dataset: PreparedDataset,
    cf_folder: Path,
    config: PipelineConfig,
    checkpoints: Path,
    out: Path,
    report: Report,
) -> dict[str, float]:
    """Train, early stopped on the mean valid NDCG@10 over the whole catalogue; continues from ``checkpoints``.

    Writes the bundle and ``training.json`` (validations, why it stopped) into ``out``.
    """
    accelerator = make_accelerator()
    model, tokenizer = bundle.assemble(KIND, dataset, cf_folder, config)
    assert isinstance(model, FullRanking)
    settings = training_settings(config)
    shard = (accelerator.process_index, accelerator.num_processes)
    result = fit(
        model,
        TrainingData(dataset, settings, config.model.max_history, config.seed, shard),
        settings,
        seed=config.seed,
        epochs=settings.epochs,
        folder=checkpoints,
        validate=Validation(model, dataset, config),
        report=report,
        accelerator=accelerator,
    )
    if accelerator.is_main_process:
        bundle.save(out, KIND, model, tokenizer, dataset, config)
        write_json(out / "training.json", result._asdict())
    accelerator.wait_for_everyone()
    return {
        "best_valid_ndcg_at_10": result.best_metric,
        "steps": float(result.steps),
        "epochs": result.epochs,
        "parameters": float(sum(p.numel() for p in model.parameters())),
        "seconds": result.seconds,
        "resumed_at": float(result.resumed_at),
    }


def training_settings(config: PipelineConfig) -> TrainConfig:
    """``train`` with what full ranking has of its own, and no negatives: the softmax has them."""
    own = config.full_ranking
    return config.train.model_copy(
        update={"epochs": own.epochs, "batch_size": own.batch_size, "negatives": 0}
    )


class Validation:
    """Metrics of the fixed validation samples among all items; ``metric`` is the tasks' mean NDCG@10."""

    def __init__(self, model: FullRanking, dataset: PreparedDataset, config: PipelineConfig) -> None:
        every = dataset.samples("valid")
        self.model, self.dataset, self.config = model, dataset, config
        self.samples = every.take(fixed_subset(every, config.full_ranking.valid_samples))

    def __call__(self) -> dict[str, float]:
        ranks = rank_catalogue(
            model_scorer(self.model, self.dataset),
            self.dataset,
            self.samples,
            self.config.full_ranking,
            self.config.evaluation.batch_size,
            NullReport(),
        )
        summary = summarize(ranks)
        found = {f"{task}/{name}": value for task, row in summary.items() for name, value in row.items()}
        found["metric"] = float(np.mean([summary[t]["ndcg_at_10"] for t in TASKS if t in summary]))
        return found
