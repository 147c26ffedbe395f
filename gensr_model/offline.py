"""Train and rank on a machine that has this package and nothing of the pipeline: a lent GPU, say.

    python -m gensr_model.offline PREPARED OUT --config config.json [--models gensr two_head] [--cf FOLDER]

PREPARED is a folder that the pipeline's stage ``prepare`` wrote, CONFIG the same tree that ``gensr/full-pipeline``
takes. OUT gets ``lightgcn`` (unless ``--cf`` names one), a bundle per model, and ``ranks.parquet``: the ranks of these
models on the test split, in the form that ``rerank.kept`` and ``benchmarks.diagnose`` read. What is finished is not
done again, and a killed training goes on from its last checkpoint.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from gensr_model.allocator import keep_freed_memory
from gensr_model.config import PipelineConfig, digest
from gensr_model.data.prepared import PreparedDataset
from gensr_model.errors import ConfigError, GensrError
from gensr_model.evaluation import evaluate
from gensr_model.evaluation.kept import widen
from gensr_model.evaluation.metrics import summarize
from gensr_model.files import write_json, write_table
from gensr_model.report import Report, TerminalReport
from gensr_model.training import cross_fit, finetune, lightgcn

TRAIN = {"gensr": finetune.finetune, "two_head": finetune.train_two_head}
PROOFS = (
    "popularity",
    "item_knn",
)  # never random: whoever joins the ranks sees that the candidates are the same


def run(
    prepared: Path, out: Path, config: PipelineConfig, models: list[str], cf: Path | None, report: Report
) -> dict[str, Any]:
    """Do all that is not done; returns ``summary.json``: per model its metrics on test and what training said.

    Raises:
        ConfigError: the folder holds work of another config, dataset or LightGCN table.
    """
    dataset = PreparedDataset.open(prepared)
    out.mkdir(parents=True, exist_ok=True)
    _claim(out, dataset, config, cf)
    if cf is None:
        cf = out / "lightgcn"
        _once(cf, lambda folder: cross_fit.pretrain(dataset, config.lightgcn, config.seed, folder, report))
    summary: dict[str, Any] = {}
    ranks = {
        name: evaluate.rank_reference(name, dataset, "test", cf, config).replace_schema_metadata(None)
        for name in PROOFS
    }
    for kind in models:
        summary[kind] = _model(kind, dataset, cf, config, out, report)
        ranks[kind] = pq.read_table(out / kind / "ranks.parquet")
    told = {"config": config.model_dump_json(), "seed": json.dumps(config.seed)}
    write_table(out / "ranks.parquet", widen(ranks).replace_schema_metadata(told))
    write_json(out / "summary.json", summary)
    return summary


def _model(
    kind: str, dataset: PreparedDataset, cf: Path, config: PipelineConfig, out: Path, report: Report
) -> dict[str, Any]:
    checkpoints = out / f"{kind}-checkpoints"
    checkpoints.mkdir(exist_ok=True)

    def train(folder: Path) -> dict[str, float]:
        return TRAIN[kind](dataset, cf, config, checkpoints, folder, report)

    told = _once(out / kind, train)
    shutil.rmtree(checkpoints)
    table = out / kind / "ranks.parquet"
    if not table.is_file():
        begun = time.monotonic()
        ranks = evaluate.rank_bundle(out / kind, dataset, "test", config, report)
        write_json(out / kind / "ranking.json", {"seconds": time.monotonic() - begun})
        write_table(table, ranks.replace_schema_metadata(None))  # last: it says that ranking is done
    ranking = json.loads((out / kind / "ranking.json").read_text())
    return {"test": summarize(pq.read_table(table)), "training": told, "ranking": ranking}


def _claim(out: Path, dataset: PreparedDataset, config: PipelineConfig, cf: Path | None) -> None:
    """The folder belongs to one config, dataset and LightGCN table from its first run on."""
    table = None if cf is None else hashlib.sha256((cf / lightgcn.FILE).read_bytes()).hexdigest()
    mine = {"config": config.model_dump(mode="json"), "manifest": dataset.manifest, "lightgcn": table}
    path = out / "inputs.json"
    if path.is_file():
        other = [
            name
            for name, found in json.loads(path.read_text()).items()
            if digest(found) != digest(mine[name])
        ]
        if other:
            raise ConfigError(
                f"{out} holds work of another {' and '.join(other)}, see {path.name}: name another folder"
            )
    write_json(path, mine)


def _once(folder: Path, work: Callable[[Path], dict[str, float]]) -> dict[str, float]:
    """``work(folder)``, written aside and renamed; what it returned the first time where it is done already."""
    told = folder / "metrics.json"
    if not folder.is_dir():
        aside = folder.with_name(f"{folder.name}.part")
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        write_json(aside / told.name, work(aside))
        aside.rename(folder)
    found: dict[str, float] = json.loads(told.read_text())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("prepared", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--config", type=Path, required=True, help="a JSON file")
    parser.add_argument("--models", nargs="+", choices=sorted(TRAIN), default=["gensr"])
    parser.add_argument(
        "--cf", type=Path, help="a folder with lightgcn.safetensors, and folds.safetensors for lightgcn.folds"
    )
    given = parser.parse_args()
    keep_freed_memory()
    try:
        config = PipelineConfig.model_validate_json(given.config.read_text())
        report = TerminalReport(given.out.name)
        summary = run(given.prepared, given.out, config, given.models, given.cf, report)
    except (GensrError, OSError, ValueError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
    for kind, found in summary.items():
        for task, row in found["test"].items():
            print(f"{kind:10} {task:15}", *(f"{name} {value:.4f}" for name, value in row.items()))


if __name__ == "__main__":
    main()
