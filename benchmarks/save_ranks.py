"""Save a finished run: its table, and the ranks of every model on every test sample in one small file.

python -m benchmarks.save_ranks .gensr/runs/latest [--to saved]

For ``sweep/tau-beta``, which ranks no test samples, the file has a row per point. All metrics follow from ranks, so
later runs can be compared with this one sample by sample without new training.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.sides import arguments
from gensr_model.config.studies import SavedRanks
from gensr_model.evaluation.evaluate import RANKS
from gensr_model.evaluation.saved_ranks import widen
from gensr_model.reporting.run_facts import FULL_TABLE
from tasks.core.state_dir import run_folder

STAGES = {"evaluate-full-": "evaluate-full", "evaluate-": "evaluate"}  # label of an evaluation -> its stage
SAVED_FIELDS = (
    "config",
    "dataset_digest",
    "config_hash",
    "seed",
    "seeds",
    "chosen",
    "costs",
)  # fields of the summary that are saved beside the ranks


def keep(run: Path, to: Path) -> list[Path]:
    """Write ``<dataset>-seed<n>.md`` and ``.parquet`` into the folder ``to``. Returns both paths.

    A study's name comes between: ``<dataset>-full-ranking-seed<n>``, whose ranks are among all items;
    ``<dataset>-rerank-seed<n>`` and ``<dataset>-full-ranking-table-seed<n>``, which have every system;
    ``<dataset>-ablation-seed<n>``; ``<dataset>-sweep-seed<n>``, which has its points. A study of several seeds names
    them all. A pipeline's stages are in the store beside its folder, ``<home>/runs/<flow run>``. A comparison and the
    sweep have their file in the folder.
    """
    if not (run / "summary.json").is_file():
        raise SystemExit(f"{run} has no summary.json, so it is no run's folder. Give one of <home>/runs.")
    summary: dict[str, Any] = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    study = summary.get("study", "")
    if (run / RANKS).is_file():
        table, study = pq.read_table(run / RANKS), study if study == FULL_TABLE else "rerank"
    elif study == "sweep":
        table = pq.read_table(run / "sweep.parquet")
    else:
        table = widen(_ranks(run, summary))
    for place in (summary["config"]["source"], summary["config"].get("rerank", {})):
        forget_folders(place)
    metadata = {name: json.dumps(summary[name]) for name in SAVED_FIELDS if name in summary}
    to.mkdir(parents=True, exist_ok=True)
    base = to / f"{summary['dataset']}{study and f'-{study}'}-seed{'-'.join(map(str, _seeds(summary, study)))}"
    written = [base.with_name(f"{base.name}.md"), base.with_name(f"{base.name}.parquet")]
    written[0].write_text((run / "table.md").read_text(encoding="utf-8"), encoding="utf-8")
    pq.write_table(table.replace_schema_metadata(metadata), written[1], compression="zstd")
    return written


def _seeds(summary: dict[str, Any], study: str) -> list[int]:
    if study == "ablation":
        return list(dict.fromkeys(summary["config"]["ablation"]["seeds"]))
    seeds: list[int] = summary["seeds"] if "seeds" in summary else [summary["seed"]]
    return seeds


def _ranks(run: Path, summary: dict[str, Any]) -> dict[str, pa.Table]:
    store = run.resolve().parents[1] / "store"
    ranks = {}
    for label, key in ((stage["label"], stage["key"]) for stage in summary["stages"]):
        prefix = next((prefix for prefix in STAGES if label.startswith(prefix)), None)
        if prefix is not None:
            ranks[label.removeprefix(prefix)] = pq.read_table(store / STAGES[prefix] / key / RANKS)
    if not ranks:
        raise SystemExit(f"{run}: this run ranked no test samples, so there is nothing to save. Give another run.")
    return ranks


def forget_folders(place: dict[str, Any]) -> None:
    """Remove paths, which are private to this machine."""
    if "path" in place:
        place["path"] = Path(place["path"]).name
    if "saved_ranks" in place:
        saved = map(SavedRanks.model_validate, place["saved_ranks"])
        place["saved_ranks"] = [entry.without_folder() for entry in saved]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("run", type=Path, help="a folder with summary.json, such as .gensr/runs/latest")
    parser.add_argument("--to", type=Path, default=Path("saved"))
    given = parser.parse_args()
    for path in keep(run_folder(given.run), given.to):
        print(path)


if __name__ == "__main__":
    main()
