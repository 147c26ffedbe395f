"""SASRec on Amazon Beauty beside the figures that others have published for it.

    python -m benchmarks.published --source FOLDER [--epochs 60] [--loss bce] [--threads 2]

Their protocol, not ours: leave one out by position in the file, histories of at most 50 events, and the whole
catalogue as candidates. Nothing is masked but what the source masks. Settings were chosen on Beauty's valid split.
The last line is one JSON object with the ratios ours / published.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from benchmarks.common import prepared
from benchmarks.sides import arguments
from gensr_model.baselines.base import DotBaseline
from gensr_model.baselines.inputs import Collator
from gensr_model.baselines.registry import BASELINES
from gensr_model.config.base import Split
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.data.prepared import PreparedDataset, Samples
from gensr_model.errors import DataError
from gensr_model.evaluation.catalogue import CatalogueScorer, rank_catalogue
from gensr_model.evaluation.metrics import summarize
from gensr_model.runtime.progress import NullReport
from gensr_model.training import baseline, tuning
from gensr_model.training.trainer import TrainingData, fit

COUNTS = {"users": 22_363, "items": 12_101, "events": 198_502}
METRICS = ("recall_at_5", "ndcg_at_5", "recall_at_10", "ndcg_at_10")
MAX_HISTORY = 50


class Published(NamedTuple):
    """Figures of others, and how they were measured."""

    source: str
    figures: tuple[float, float, float, float]  # METRICS
    masks: bool  # whether items of the user's history are no candidates
    point: tuning.Point  # our settings, chosen on valid


PUBLISHED = {
    "bce": Published(
        "S3-Rec (Zhou et al., CIKM 2020) and TIGER (Rajput et al., NeurIPS 2023)",
        (0.0387, 0.0249, 0.0605, 0.0318), True,
        {"loss": "bce", "negatives": 1, "learning_rate": 1e-3, "batch_size": 256, "dropout": 0.5},
    ),
    "catalogue": Published(
        "RecBole's SASRec with cross-entropy (HonghuiBao2000/LETTER, issue 20)",
        (0.0543, 0.0315, 0.0821, 0.0405), False,
        {"loss": "catalogue", "negatives": 1, "learning_rate": 1e-3, "batch_size": 512, "dropout": 0.5},
    ),
}  # fmt: skip


def check_counts(dataset: PreparedDataset) -> None:
    """Raise DataError where the data are not the published ones."""
    events = int((dataset.events.behavior == 0).sum())
    found = {"users": dataset.n_users, "items": dataset.n_items, "events": events}
    if found != COUNTS:
        raise DataError(f"this is not Beauty as it was published: it has {found}, and {COUNTS} was expected")


def scorer(model: DotBaseline, collator: Collator) -> CatalogueScorer:
    """State · every item."""

    @torch.inference_mode()
    def score(samples: Samples) -> npt.NDArray[Any]:
        state = model.eval().state(collator.build(samples, samples.item[:, None]))
        scores: npt.NDArray[Any] = (state @ model.items.table.weight.T).numpy()
        return scores

    return score


def metrics(model: DotBaseline, collator: Collator, dataset: PreparedDataset, split: Split, masks: bool) -> Any:
    """Metrics over the whole catalogue of every recommendation sample of a split."""
    every = dataset.samples(split)
    samples = every.take(np.flatnonzero(every.task == 0))
    settings = PipelineConfig().full_ranking.model_copy(update={"mask_met": masks})
    ranks: pa.Table = rank_catalogue(scorer(model, collator), dataset, samples, settings, 512, NullReport())
    return summarize(ranks)["recommendation"]


def measure(published: Published, dataset: PreparedDataset, epochs: int) -> dict[str, Any]:
    """Train with early stop on valid NDCG@10 over the catalogue, and rank the test split once."""
    config, spec, begun = PipelineConfig(), BASELINES["sasrec"], time.process_time()
    collator = Collator(dataset, spec.reads, MAX_HISTORY, None)
    torch.manual_seed(config.seed)
    model = baseline.build(spec, published.point, collator)
    assert isinstance(model, DotBaseline)
    settings = baseline.training_settings(config, published.point).model_copy(update={"patience": 8})
    data = TrainingData(dataset, settings, MAX_HISTORY, config.seed, builder=collator, tasks=spec.tasks, min_history=1)

    def validate() -> dict[str, float]:
        valid = metrics(model, collator, dataset, "valid", published.masks)
        print(json.dumps({name: round(valid[name], 4) for name in METRICS}), f"{time.process_time() - begun:.0f} s",
              flush=True)  # fmt: skip
        return {**valid, "metric": valid["ndcg_at_10"]}

    with tempfile.TemporaryDirectory(prefix="gensr-benchmark-") as folder:
        result = fit(
            model, data, settings, seed=config.seed, epochs=epochs, folder=Path(folder), validate=validate,
            report=NullReport(),
        )  # fmt: skip
    test = metrics(model, collator, dataset, "test", published.masks)
    ours = [test[name] for name in METRICS]
    return {
        "epochs": round(result.epochs), "stopped": result.stopped, "cpu_s": round(time.process_time() - begun),
        "ours": [round(value, 4) for value in ours],
        "ratios": [round(value / theirs, 3) for value, theirs in zip(ours, published.figures, strict=True)],
    }  # fmt: skip


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--source", type=Path, required=True, help="Beauty's raw files in Amazon's format")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--loss", choices=list(PUBLISHED), action="append", help="both where none is given")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    source = {"kind": "folder", "path": str(given.source)}
    dataset, _ = prepared(users=0, items=0, source=source, prepare={"same_time": "include"})
    check_counts(dataset)
    results = {}
    print("| loss | of | " + " | ".join(METRICS) + " | ours / published |")
    for loss in given.loss or PUBLISHED:
        published = PUBLISHED[loss]
        results[loss] = row = measure(published, dataset, given.epochs)
        cells = (f"{ours} ({theirs})" for ours, theirs in zip(row["ours"], published.figures, strict=True))
        print(f"| {loss} | {published.source} | {' | '.join(cells)} | {row['ratios']} |", flush=True)
    print(json.dumps({"ratios": {loss: row["ratios"] for loss, row in results.items()}, "metrics": METRICS, **results}))


if __name__ == "__main__":
    main()
