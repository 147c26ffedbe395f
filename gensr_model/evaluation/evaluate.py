"""Per-sample ranks of any ranker on the frozen candidates."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from gensr_model.config.base import Split
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.data.batches import BatchBuilder
from gensr_model.data.prepared import PreparedDataset
from gensr_model.evaluation.metrics import summarize
from gensr_model.evaluation.reference import score_reference
from gensr_model.evaluation.scoring import Lists, lists_of, rank_samples
from gensr_model.models import bundle
from gensr_model.runtime.devices import compile_blocks, default_device
from gensr_model.runtime.files import write_json
from gensr_model.runtime.progress import Report

RANKS = "ranks.parquet"


def rank_reference(
    name: str, dataset: PreparedDataset, split: Split, cf_folder: Path, config: PipelineConfig
) -> pa.Table:
    """Ranks of a reference ranker. A task without training has none, nor has one that the ranker or protocol lacks."""
    return score_reference(name, dataset, *_lists(dataset, split, config), cf_folder, config.model.text)


def rank_bundle(
    folder: Path, dataset: PreparedDataset, split: Split, config: PipelineConfig, report: Report
) -> pa.Table:
    """Ranks of a trained model, with items matched by raw id. A task without training or candidates has no rows.

    The table's metadata holds ``unknown_item_share``, the share of the dataset's items that training did not have.
    """
    loaded = bundle.load(folder, dataset.items, dataset.queries)
    loaded.model.to(default_device())
    compile_blocks(loaded.model, config.train.compile)
    builder, how = BatchBuilder(dataset, loaded.config.max_history), config.evaluation
    ranks = rank_samples(loaded.model, builder, _lists(dataset, split, config), how.batch_size, report, how.precision)
    return ranks.replace_schema_metadata({"unknown_item_share": repr(loaded.unknown_item_share)})


def _lists(dataset: PreparedDataset, split: Split, config: PipelineConfig) -> Lists:
    """The evaluated lists. On the validation split they are the lists that chose the weights."""
    most = config.train.valid_samples if split == "valid" else config.evaluation.max_test_samples
    return lists_of(dataset, split, config.evaluation.protocol, config.train.trained_tasks, most)


def write_ranks(out: Path, ranks: pa.Table) -> dict[str, float]:
    """Write the ranks and their means. Returns the means as ``task/metric``."""
    pq.write_table(ranks, out / RANKS)
    summary = summarize(ranks)
    write_json(out / "metrics.json", summary)
    metrics = {f"{task}/{name}": float(value) for task, row in summary.items() for name, value in row.items()}
    share = (ranks.schema.metadata or {}).get(b"unknown_item_share")
    return metrics if share is None else metrics | {"unknown_item_share": float(share)}
