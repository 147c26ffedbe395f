"""The effect of each baseline's loss, negatives and samples without history on valid: the table behind the grids.

python -m benchmarks.losses [name ...] --source FOLDER --out FILE [--epochs 30]

Every line of ``TRIED`` is trained with early stopping and ranked on the frozen valid candidates. The test split is not
read. A line in FILE is not trained again, so the command can be stopped anywhere. It ends with the table. Metrics are
NDCG@10 of all valid samples.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import prepared
from benchmarks.sides import arguments
from gensr_model.baselines.registry import BASELINES, UNISAR
from gensr_model.config.pipeline import PipelineConfig, with_changes
from gensr_model.data.prepared import PreparedDataset
from gensr_model.evaluation.evaluate import rank_bundle
from gensr_model.evaluation.metrics import summarize
from gensr_model.runtime.progress import NullReport
from gensr_model.training import baseline, cross_fit, tuning
from gensr_model.training.finetune import TRAIN
from tasks.compare.baselines import at_point

CATALOGUE, LISTWISE = {"loss": "catalogue"}, {"loss": "listwise"}
MANY = {"loss": "listwise", "negatives": 32}
WITH, ALL, BCE = {"min_history": 1}, {"min_history": 0}, {"loss": "bce"}
SEQUENCE = (BCE | ALL, BCE | WITH, CATALOGUE | ALL, CATALOGUE | WITH)
PAIRWISE = (BCE, BCE | {"negatives": 32}, MANY)
TRIED: dict[str, tuple[tuning.Point, ...]] = {
    "sasrec": (*SEQUENCE, CATALOGUE | WITH | {"dropout": 0.2}),
    "gru4rec": (LISTWISE | ALL, *SEQUENCE[1:]),
    "fmlp_rec": SEQUENCE,
    "bert4rec": (ALL, WITH),
    "query_seqrec": (CATALOGUE, CATALOGUE | WITH),
    "nrhub": (LISTWISE, CATALOGUE, CATALOGUE | WITH),
    "din": (*PAIRWISE, MANY | WITH),
    "sesrec": (*PAIRWISE, MANY | WITH),
    "user": (BCE, CATALOGUE),
    "jsr": ({"loss": "bpr"}, CATALOGUE),
    "unified_ssr": (BCE, CATALOGUE),
    "unisar": (*({"weights": weights} for weights in UNISAR), MANY | {"weights": UNISAR[2]}),
    **dict.fromkeys(("qem", "hem", "aem", "zam", "tem", "copps"), (BCE, CATALOGUE)),
}
# GenSR and two heads, in the preset ``best``: fields of the config.
LIST = {"model.answer_loss": "listwise"}
OURS: dict[str, tuple[tuning.Point, ...]] = {name: ({}, LIST, LIST | {"train.negatives": 16}) for name in TRAIN}


def measure_ours(name: str, point: tuning.Point, dataset: PreparedDataset, config: PipelineConfig) -> dict[str, Any]:
    """One training of GenSR or two heads with its own LightGCN table. Returns metrics of its best valid epoch."""
    begun = time.process_time()
    best = PipelineConfig.model_validate({"preset": "best", "train": {"two_head_epochs": config.rerank.epochs}})
    config = at_point(best, {"train.epochs": config.rerank.epochs} | point)
    with tempfile.TemporaryDirectory(prefix="gensr-benchmark-") as folder:
        cf, out = Path(folder) / "cf", Path(folder) / "bundle"
        cf.mkdir()
        out.mkdir()
        cross_fit.pretrain(dataset, config, cf, NullReport())
        trained = TRAIN[name](dataset, cf, config, Path(folder) / "steps", out, NullReport())
        whole = at_point(config, {"train.valid_samples": len(dataset.samples("valid"))})
        metrics = summarize(rank_bundle(out, dataset, "valid", whole, NullReport()))
    return _row(name, point, metrics, trained["epochs"], time.process_time() - begun)


def measure(name: str, point: tuning.Point, dataset: PreparedDataset, config: PipelineConfig) -> dict[str, Any]:
    """One training. Returns metrics of its best epoch on valid."""
    spec, begun = BASELINES[name], time.process_time()
    whole = tuning.default(spec.grid) | point
    with tempfile.TemporaryDirectory(prefix="gensr-benchmark-") as folder:
        lexicon = baseline.lexicon_of(spec, dataset, config.model.text)
        model, result, _ = baseline.fit_baseline(
            spec, whole, dataset, lexicon, config, config.rerank.epochs, Path(folder), NullReport()
        )
        out = Path(folder) / "bundle"
        out.mkdir()
        baseline.save(out, spec, whole, model, dataset, lexicon, config.model.max_history)
        ranks = baseline.rank(out, spec, dataset, "valid", config, NullReport())
    metrics = summarize(ranks)
    return _row(name, point, metrics, result.epochs, time.process_time() - begun)


def _row(
    name: str, point: tuning.Point, metrics: dict[str, dict[str, float]], epochs: float, cpu_seconds: float
) -> dict[str, Any]:
    return {
        "system": name, "point": point, "epochs": round(epochs), "cpu_s": round(cpu_seconds),
        **{task: round(row["ndcg_at_10"], 4) for task, row in metrics.items()},
    }  # fmt: skip


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("names", nargs="*", help="all where none is given")
    parser.add_argument("--source", required=True, help="a folder of raw files, or generated")
    parser.add_argument("--out", type=Path, required=True, help="JSON lines, one for each training")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    source = None if given.source == "generated" else {"kind": "folder", "path": given.source}
    dataset, config = prepared(users=1_000, items=500, source=source)
    config = with_changes(config, {"rerank": {"epochs": given.epochs}})
    known = (
        [json.loads(line) for line in given.out.read_text(encoding="utf-8").splitlines()] if given.out.is_file() else []
    )
    done = {(row["system"], json.dumps(row["point"])) for row in known}
    for name in given.names or (*TRIED, *OURS):
        for point in (TRIED | OURS)[name]:
            if (name, json.dumps(point)) in done:
                continue
            row = (measure if name in TRIED else measure_ours)(name, point, dataset, config)
            known.append(row)
            with given.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            print(json.dumps(row), flush=True)
    print("| system | hyperparameters | rec N@10 | search N@10 | epochs | CPU s |\n|---|---|---|---|---|---|")
    for row in known:
        shown = ", ".join(f"{key} {value}" for key, value in row["point"].items()) or "as it was"
        print(f"| {row['system']} | {shown} | {row.get('recommendation', '')} | {row.get('search', '')} "
              f"| {row['epochs']} | {row['cpu_s']} |")  # fmt: skip


if __name__ == "__main__":
    main()
