"""The effect of each departure of full ranking on valid: GenSR over the whole catalogue with one switch changed.

python -m benchmarks.full_ranking_switches --source FOLDER --out FILE [--epochs 1] [--samples 3000]

All lines share data, CF tables and seed. The test split is not read. A line in FILE is not trained again, so the
command can be stopped anywhere. It ends with the table: NDCG@10 of the fixed valid samples.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common import prepared
from benchmarks.sides import arguments
from gensr_model.config.base import TASKS
from gensr_model.config.pipeline import PipelineConfig, with_changes
from gensr_model.data.prepared import PreparedDataset
from gensr_model.evaluation.catalogue import rank_catalogue, reference_scorer
from gensr_model.evaluation.metrics import summarize
from gensr_model.evaluation.reference import NEEDS_QUERY
from gensr_model.evaluation.scoring import fixed_subset
from gensr_model.runtime.progress import NullReport
from gensr_model.training import cross_fit
from gensr_model.training.finetune import train_full_ranking

OFF: dict[str, Any] = {"item_vectors": False, "shortcuts": False, "neighbors": 0}
# Laid over the preset ``best``.
SWITCHES: dict[str, dict[str, Any]] = {
    "as in best": {},
    "a token per item (the paper's)": {"full_ranking": {"departures": OFF}},
    "without shortcuts and counts": {"full_ranking": {"departures": OFF | {"item_vectors": True}}},
    "without shortcuts": {"full_ranking": {"departures": {"shortcuts": False}}},
    "without counts": {"full_ranking": {"departures": {"neighbors": 0}}},
    "without folds": {"model": {"departures": {"folds": 0}}},
    "without cold items": {"model": {"departures": {"cold_items": 0.0}}},
    "without searches in the text": {"model": {"departures": {"searches_in_text": {"enabled": False}}}},
    "with a learned vector per item": {"model": {"departures": {"item_embedding": True}}},
}
REFERENCES = ("item_knn", "query_count", "query_user")


def measure(dataset: PreparedDataset, cf: Path, config: PipelineConfig) -> dict[str, Any]:
    """One training; metrics of its best epoch on the fixed valid samples."""
    begun = time.process_time()
    with tempfile.TemporaryDirectory(prefix="gensr-benchmark-") as folder:
        out = Path(folder) / "bundle"
        out.mkdir()
        trained = train_full_ranking(dataset, cf, config, Path(folder) / "steps", out, NullReport())
        every = json.loads((out / "training.json").read_text(encoding="utf-8"))["validations"]
    best = max(every, key=lambda row: float(row["metric"]))
    metrics: dict[str, Any] = {task: round(best[f"{task}/ndcg_at_10"], 4) for task in TASKS}
    return metrics | {"epochs": round(trained["epochs"]), "cpu_s": round(time.process_time() - begun)}


def measure_reference(name: str, dataset: PreparedDataset, cf: Path, config: PipelineConfig) -> dict[str, Any]:
    """Metrics of a reference ranker on the same samples."""
    every = dataset.samples("valid")
    samples = every.take(fixed_subset(every, config.full_ranking.valid_samples, TASKS))
    if name in NEEDS_QUERY:
        samples = samples.take(np.flatnonzero(samples.query >= 0))
    scorer = reference_scorer(name, dataset, samples, cf, config.model.text)
    ranks = rank_catalogue(scorer, dataset, samples, config.full_ranking, 1_024, NullReport())
    return {task: round(row["ndcg_at_10"], 4) for task, row in summarize(ranks).items()}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--source", required=True, help="a folder of raw files, or generated")
    parser.add_argument("--out", type=Path, required=True, help="JSON lines, one for each training")
    parser.add_argument("--epochs", type=int, default=1, help="of each training, over which the learning rate falls")
    parser.add_argument("--samples", type=int, default=3_000, help="valid samples per task")
    given = parser.parse_args()
    torch.set_num_threads(1)
    source = None if given.source == "generated" else {"kind": "folder", "path": given.source}
    dataset, _ = prepared(users=1_000, items=500, source=source)
    best = PipelineConfig.model_validate({"preset": "best"})
    best = with_changes(best, {"full_ranking": {"epochs": given.epochs, "valid_samples": given.samples}})
    known = (
        [json.loads(line) for line in given.out.read_text(encoding="utf-8").splitlines()] if given.out.is_file() else []
    )
    done = {row["line"] for row in known}
    with tempfile.TemporaryDirectory(prefix="gensr-benchmark-") as folder:
        cf = Path(folder)
        cross_fit.pretrain(dataset, best, cf, NullReport())
        for line in (*REFERENCES, *SWITCHES):
            if line in done:
                continue
            if line in REFERENCES:
                row = measure_reference(line, dataset, cf, best)
            else:
                row = measure(dataset, cf, with_changes(best, SWITCHES[line]))
            known.append({"line": line, **row})
            with given.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(known[-1]) + "\n")
            print(json.dumps(known[-1]), flush=True)
    print("| line | rec N@10 | search N@10 | epochs | CPU s |\n|---|---|---|---|---|")
    for row in known:
        print("|", " | ".join(str(row.get(name, "")) for name in ("line", *TASKS, "epochs", "cpu_s")), "|")


if __name__ == "__main__":
    main()
