"""Fine-tune GenSR (§5.2), or its discriminative comparator (Eq. 1), and write the model bundle."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from gensr_model.analysis.gradient_conflict import task_gradient_cosine
from gensr_model.config import TASKS, PipelineConfig
from gensr_model.data.batches import Batch
from gensr_model.data.prepared import PreparedDataset
from gensr_model.evaluation.metrics import ranks_table, summarize
from gensr_model.evaluation.scoring import fixed_subset, score_samples
from gensr_model.files import write_json
from gensr_model.report import NullReport, Report
from gensr_model.serving import store
from gensr_model.training import bundle
from gensr_model.training.trainer import TrainingData, fit, make_accelerator


def finetune(
    dataset: PreparedDataset,
    cf_folder: Path,
    config: PipelineConfig,
    checkpoints: Path,
    out: Path,
    report: Report,
) -> dict[str, float]:
    """Train GenSR, early stopped on the mean valid NDCG@5 of both tasks; continues from ``checkpoints``.

    Writes the bundle, ``training.json`` (validations, why it stopped) and ``gradients.json`` (§6.5) into ``out``.
    """
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
    accelerator = make_accelerator()
    model, tokenizer = bundle.assemble(kind, dataset, cf_folder, config)
    shard = (accelerator.process_index, accelerator.num_processes)
    data = TrainingData(dataset, config.train, config.model.max_history, config.seed, shard)
    gradients = GradientLog(model, config.analysis.gradient_every, checkpoints / "gradients", report)
    result = fit(
        model,
        data,
        config.train,
        seed=config.seed,
        epochs=epochs,
        folder=checkpoints,
        validate=Validation(model, dataset, config),
        report=report,
        probe=gradients,
        accelerator=accelerator,
    )
    if accelerator.is_main_process:
        bundle.save(out, kind, model, tokenizer, dataset, config)
        store.save(out, dataset, cf_folder, config.model.max_history)
        write_json(out / "training.json", result._asdict())
        write_json(out / "gradients.json", gradients.entries())
    accelerator.wait_for_everyone()
    return {
        "best_valid_ndcg_at_5": result.best_metric,
        "steps": float(result.steps),
        "epochs": result.epochs,
        "parameters": float(sum(p.numel() for p in model.parameters())),
        "seconds": result.seconds,
        "resumed_at": float(result.resumed_at),
    }


class Validation:
    """Metrics on the fixed validation samples; ``metric`` is the mean NDCG@5 of the tasks with candidates."""

    def __init__(self, model: bundle.Model, dataset: PreparedDataset, config: PipelineConfig) -> None:
        every, negatives = dataset.evaluated("valid", config.evaluation.protocol)
        rows = fixed_subset(every, config.train.valid_samples)
        self.model, self.dataset, self.config = model, dataset, config
        self.samples, self.negatives = every.take(rows), negatives[rows]

    def __call__(self) -> dict[str, float]:
        scores = score_samples(
            self.model,
            self.dataset,
            self.samples,
            self.negatives,
            max_history=self.config.model.max_history,
            batch_size=self.config.evaluation.batch_size,
            report=NullReport(),
        )
        summary = summarize(ranks_table(self.samples.sample_id, self.samples.task_names, scores))
        found = {f"{task}/{name}": value for task, row in summary.items() for name, value in row.items()}
        found["metric"] = float(np.mean([summary[t]["ndcg_at_5"] for t in TASKS if t in summary]))
        return found


class GradientLog:
    """Cosine between the task gradients every few steps, kept over a killed run in one small file per probe."""

    def __init__(self, model: bundle.Model, every: int, folder: Path, report: Report) -> None:
        self.model, self.every, self.folder, self.report = model, every, folder, report

    def __call__(self, batch: Batch, step: int) -> None:
        if not self.every or step % self.every:
            return
        found = task_gradient_cosine(self.model, batch, self.model.conflict_parameters())
        if found is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / f"{step:08d}.json", {"step": step, **found._asdict()})
        self.report.metrics({"gradient/cosine": found.cosine}, step)

    def entries(self) -> list[dict[str, float]]:
        """All probes so far, by step."""
        return [json.loads(path.read_text()) for path in sorted(self.folder.glob("*.json"))]
