"""Per-sample ranks of any ranker on the frozen candidates."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from gensr_model.config.base import Split
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.data.prepared import PreparedDataset
from gensr_model.evaluation.metrics import ranks_table, summarize
from gensr_model.evaluation.reference import score_reference
from gensr_model.evaluation.scoring import fixed_subset, score_samples
from gensr_model.models import bundle
from gensr_model.runtime.devices import compile_blocks, default_device
from gensr_model.runtime.files import write_json
from gensr_model.runtime.progress import Report

RANKS = "ranks.parquet"


def rank_reference(
    name: str, dataset: PreparedDataset, split: Split, cf_folder: Path, config: PipelineConfig
) -> pa.Table:
    """Ranks of a reference ranker; a task not trained, or not served by it or by the protocol, has none."""
    every, negatives = dataset.evaluated(split, config.evaluation.protocol)
    rows = fixed_subset(every, _at_most(split, config), config.train.trained_tasks)
    return score_reference(name, dataset, every.take(rows), negatives[rows], cf_folder, config.model.text)


def rank_bundle(
    folder: Path, dataset: PreparedDataset, split: Split, config: PipelineConfig, report: Report
) -> pa.Table:
    """Ranks of a trained model, its items matched by raw id; a task not trained or not drawn for has no rows.

    The table's metadata holds ``unknown_item_share``: of the dataset's items, those the model was not trained with.
    """
    loaded = bundle.load(folder, dataset.items, dataset.queries)
    loaded.model.to(default_device())
    compile_blocks(loaded.model, config.train.compile)
    every, negatives = dataset.evaluated(split, config.evaluation.protocol)
    rows = fixed_subset(every, _at_most(split, config), config.train.trained_tasks)
    samples = every.take(rows)
    scores = score_samples(
        loaded.model,
        dataset,
        samples,
        negatives[rows],
        max_history=loaded.config.max_history,
        batch_size=config.evaluation.batch_size,
        report=report,
        precision=config.evaluation.precision,
    )
    ranks = ranks_table(samples.sample_id, samples.task_names, scores)
    return ranks.replace_schema_metadata({"unknown_item_share": repr(loaded.unknown_item_share)})


def _at_most(split: Split, config: PipelineConfig) -> int | None:
    """Samples of a task: on validation those that chose the weights."""
    return config.train.valid_samples if split == "valid" else config.evaluation.max_test_samples


def write_ranks(out: Path, ranks: pa.Table) -> dict[str, float]:
    """Write the ranks and their means; returns the means as ``task/metric``."""
    pq.write_table(ranks, out / RANKS)
    summary = summarize(ranks)
    write_json(out / "metrics.json", summary)
    metrics = {f"{task}/{name}": float(value) for task, row in summary.items() for name, value in row.items()}
    share = (ranks.schema.metadata or {}).get(b"unknown_item_share")
    return metrics if share is None else metrics | {"unknown_item_share": float(share)}
