"""The untrained reference rankers on real data: how `query_user` got its weight, what each reaches, saved ranks of all.

    python -m benchmarks.references ../shared/data/amazon-scientific --to docs/results \\
        --against docs/results/amazon-scientific-best-filter-rerank-seed0-1-2.parquet

Prints N@10 of search on validation for every weight of the history, then GenSR minus each reference in the files given,
with the 95% interval by user. Writes ``<folder's name>-references-seed0`` and, over the whole catalogue,
``<folder's name>-full-ranking-references-seed0``: ranks of the test split, and their table. LightGCN is left out, as it
is trained.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.common import prepared
from benchmarks.sides import arguments
from gensr_model.config.base import TASKS
from gensr_model.data.prepared import PreparedDataset
from gensr_model.evaluation import catalogue, evaluate
from gensr_model.evaluation.compare import paired_bootstrap
from gensr_model.evaluation.comparison_table import COLUMNS, means
from gensr_model.evaluation.metrics import ranks_table, summarize
from gensr_model.evaluation.reference import NEEDS_QUERY, REFERENCES, query_user
from gensr_model.evaluation.saved_ranks import read_saved_ranks, widen
from gensr_model.reporting.model_names import model_title
from gensr_model.reporting.renderers import markdown
from gensr_model.reporting.tables import Column, Table, mark_best, number, text
from gensr_model.runtime.progress import NullReport

WEIGHTS = (0.0, 0.3, 0.5, 1.0, 2.0, 3.0, 5.0)
UNTRAINED = tuple(name for name in REFERENCES if name != "lightgcn")
Ranks = dict[str, pa.Table]


def by_weight(dataset: PreparedDataset) -> dict[float, float]:
    """N@10 of all validation searches by the weight of the history in `query_user`."""
    samples, negatives = dataset.evaluated("valid")
    rows = np.flatnonzero(samples.query >= 0)
    samples, lists = samples.take(rows), np.column_stack([samples.item[rows], negatives[rows]])
    result = {}
    for weight in WEIGHTS:
        scores = query_user(dataset, weight)(samples, lists).astype(np.float32)
        result[weight] = summarize(ranks_table(samples.sample_id, samples.task_names, scores))["search"]["ndcg_at_10"]
    return result


def save(ranks: Ranks, among: str, base: Path) -> None:
    """Write ``base`` with the endings .parquet and .md."""
    pq.write_table(widen(ranks).replace_schema_metadata({"seed": "0"}), f"{base}.parquet", compression="zstd")
    rows = means({name: [table] for name, table in ranks.items()})
    pages = [f"# {base.name}\n\nReference rankers that are not trained. The positive is ranked among {among}.\n"]
    for task in TASKS:
        of_task = {(row["system"], row["metric"]): row for row in rows if row["task"] == task}
        names = list(dict.fromkeys(name for name, _ in of_task))
        body = [[text(model_title(n)), *(number(of_task[n, m]["mean"]) for m in COLUMNS)] for n in names]
        samples = of_task[names[0], "ndcg_at_10"]["samples"]
        columns = [Column("Model", False), *map(Column, COLUMNS.values())]
        body = mark_best(body, range(1, 1 + len(COLUMNS)))
        pages.append(markdown(Table(task, f"{task.capitalize()}: {samples} test samples", columns, body)))
    base.with_name(f"{base.name}.md").write_text("\n".join(pages).rstrip() + "\n")


def against(file: Path, references: Mapping[str, pa.Table], users: pa.Table) -> None:
    """Print GenSR minus each reference in search, all trainings of the file together."""
    ours = [table for name, table in read_saved_ranks(file).items() if name.partition("/")[0] == "gensr"]
    for name in NEEDS_QUERY:
        for metric, title in COLUMNS.items():
            by = paired_bootstrap(ours, references[name], metric, task="search", users=users)
            print(f"{file.stem}: GenSR − {name}, search {title}: "
                  f"{by.mean_difference:+.4f} [{by.low:+.4f}, {by.high:+.4f}], p {by.p:.2g}")  # fmt: skip


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("source", type=Path, help="a folder with raw files in the format of Amazon")
    parser.add_argument("--to", type=Path, help="where to write ranks and tables; left out: nowhere")
    parser.add_argument("--against", type=Path, nargs="*", default=[], help="saved ranks of GenSR on the same data")
    given = parser.parse_args()
    dataset, config = prepared(0, 0, {"kind": "folder", "path": str(given.source.resolve())})
    for weight, ndcg in by_weight(dataset).items():
        print(f"validation, history weight {weight:g}: search N@10 {ndcg:.4f}")
    folder = dataset.folder  # no LightGCN table is read
    listed = {name: evaluate.rank_reference(name, dataset, "test", folder, config) for name in UNTRAINED}
    whole = {name: catalogue.rank_reference(name, dataset, "test", folder, config, NullReport()) for name in UNTRAINED}
    users = dataset.table("samples_test").select(["sample_id", "user_idx"])
    for file in given.against:
        against(file, whole if "full-ranking" in file.name else listed, users)
    if given.to is not None:
        name = given.source.resolve().name
        save(listed, f"{config.prepare.negatives} frozen negatives", given.to / f"{name}-references-seed0")
        among = f"all {dataset.n_items:,} items, without those the user had met"
        save(whole, among, given.to / f"{name}-full-ranking-references-seed0")


if __name__ == "__main__":
    main()
