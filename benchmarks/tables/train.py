"""Train one cell: run its flow in this process, with a Prefect server of its own, and save its ranks.

``python -m benchmarks.tables`` starts it. Finished stages and checkpoints are in GENSR_HOME, so a killed cell resumes.
"""

from __future__ import annotations

import json
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from filelock import FileLock, Timeout
from prefect.flows import load_flow_from_entrypoint

from benchmarks.save_ranks import forget_folders
from benchmarks.tables.plan import Cell, config_of
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.errors import GensrError
from gensr_model.evaluation.cells import SAMPLES_SCHEMA, CellRecord, read_cell, write_cell, write_samples
from gensr_model.evaluation.evaluate import RANKS
from gensr_model.evaluation.saved_ranks import read_saved_ranks
from tasks.core.state_dir import state_dir
from tasks.core.tracking import git_commit

HELD = 75  # exit status: another process trains this cell
# By the names of deployments.
FLOWS = {
    "rerank": "flows.rerank_table.rerank_table",
    "full-ranking": "flows.full_ranking_table.full_ranking_table",
}


def train(cell: Cell, data: Path, cells: Path) -> None:
    """Train and rank a cell, and save its ranks below ``cells``. Raises the errors of its flow."""
    chosen = None if cell.tunes else _chosen(cell, cells)
    config = PipelineConfig.model_validate(config_of(cell, data, chosen))
    flow = load_flow_from_entrypoint(FLOWS[cell.study])
    summary: dict[str, Any] = flow(config)
    run = state_dir().runs / summary["flow_run_id"]
    ranks = read_saved_ranks(run / RANKS)
    shown = summary["config"]
    for place in (shown["source"], shown["rerank"]):
        forget_folders(place)
    prepared = next(stage["key"] for stage in summary["stages"] if stage["label"] == "prepare")
    samples = pq.read_table(state_dir().store / "prepare" / prepared / "samples_test.parquet")
    write_samples(cells / cell.dataset, samples.select(SAMPLES_SCHEMA.names))
    for system, path in cell.paths.items():
        record = CellRecord(
            dataset=cell.dataset,
            study=cell.study,
            system=system,
            setting=cell.setting,
            seed=cell.seed,
            title=summary["systems"][system]["title"],
            dataset_digest=summary["dataset_digest"],
            config=shown,
            chosen=summary["chosen"].get(system, {}) if cell.tunes else chosen or {},
            costs=summary["costs"].get(system, {}),
            commit=git_commit() or "unknown",
            trained_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        write_cell(cells / path, ranks[system], record)


def _chosen(cell: Cell, cells: Path) -> dict[str, Any]:
    """The hyperparameters of the cell that chose them; none for a reference."""
    if cell.chosen_in is None:
        return {}
    return read_cell(cells / cell.chosen_in.paths[cell.system]).record.chosen


def main() -> int:
    cell, data, cells = Cell(*json.loads(sys.argv[1])), Path(sys.argv[2]), Path(sys.argv[3])
    locks = state_dir().root / "cells"
    locks.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(locks / f"{re.sub(r'[^a-z0-9_-]+', '-', cell.name)}.lock", timeout=0):
            train(cell, data, cells)
    except Timeout:
        return HELD
    except GensrError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
