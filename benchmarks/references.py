"""How the weight of the reference ranker `query_user` was chosen.

python -m benchmarks.references ../shared/data/amazon-scientific

Prints N@10 of search on valid for every weight of the history. docs/results/findings.md has the references' test
figures.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.common import prepared
from benchmarks.sides import arguments
from gensr_model.data.prepared import PreparedDataset
from gensr_model.evaluation.metrics import ranks_table, summarize
from gensr_model.evaluation.reference import query_user

WEIGHTS = (0.0, 0.3, 0.5, 1.0, 2.0, 3.0, 5.0)


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


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("source", type=Path, help="a folder with raw files in the format of Amazon")
    given = parser.parse_args()
    dataset, _ = prepared(0, 0, {"kind": "folder", "path": str(given.source.resolve())})
    for weight, ndcg in by_weight(dataset).items():
        print(f"validation, history weight {weight:g}: search N@10 {ndcg:.4f}")


if __name__ == "__main__":
    main()
