"""Our SASRec or TIGER on Amazon Beauty beside published figures.

    python -m benchmarks.published --source FOLDER [--system sasrec] [--loss bce] [--histories by-position strict]
    python -m benchmarks.published --source FOLDER --system tiger [--budget 30000 60000 120000] [--vectors tfidf]

The protocol is that of the publications: leave one out by position in the file, with the whole catalogue as candidates.
Only items that the source masks are masked. ``--histories strict`` leaves out purchases on the sample's day. Each
finished training or budget is a line of ``--out``, and existing lines are not trained again. The command can be stopped
anywhere and resumes from the checkpoint in ``--state``. The last line is one JSON object with the ratios.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks.published import sasrec, tiger
from benchmarks.published.protocol import METRICS, PUBLISHED, Results, Row, beauty
from benchmarks.sides import arguments

BUDGETS = (30_000, 60_000, 120_000)  # steps; the last is more than 12 hours of one core


def rows_of_sasrec(given: argparse.Namespace, results: Results) -> Iterator[Row]:
    """One training for each kind of histories and each loss."""
    for histories in given.histories:
        dataset = None
        for loss in given.loss or sasrec.POINTS:
            row = results.find("sasrec", sasrec.settings_of(loss, histories), given.epochs)
            if row is None:
                dataset = dataset or beauty(given.source, histories)
                row = results.add(sasrec.measure(loss, histories, dataset, given.epochs, given.state))
            yield row


def rows_of_tiger(given: argparse.Namespace, results: Results) -> Iterator[Row]:
    """One training, and a row of each of its budgets."""
    settings = tiger.Settings.model_validate(given.set | {"vectors": given.vectors, "method": given.method})
    known = [results.find("tiger", settings.shown(), budget) for budget in sorted(given.budget)]
    yield from (row for row in known if row is not None)
    if left := [budget for budget, row in zip(sorted(given.budget), known, strict=True) if row is None]:
        yield from map(results.add, tiger.measure(beauty(given.source), settings, left, given.state))


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--source", type=Path, required=True, help="Beauty's raw files in Amazon's format")
    parser.add_argument("--system", choices=["sasrec", "tiger"], default="sasrec")
    parser.add_argument("--out", type=Path, default=Path("docs/results/amazon-beauty-published.jsonl"))
    parser.add_argument("--state", type=Path, default=Path(".gensr/published"), help="checkpoints")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--loss", choices=list(sasrec.POINTS), action="append", help="of SASRec; both if none is given")
    parser.add_argument("--histories", choices=["by-position", "strict"], nargs="+", default=["by-position"],
                        help="of SASRec, in training and test")  # fmt: skip
    parser.add_argument("--epochs", type=int, default=60, help="of SASRec")
    parser.add_argument("--budget", type=int, nargs="+", default=BUDGETS, help="of TIGER, in steps")
    parser.add_argument("--vectors", default="tfidf", help="of TIGER's ids: tfidf, or the folder of a T5")
    parser.add_argument("--method", choices=["rq_vae", "residual_kmeans"], default="rq_vae", help="of TIGER's ids")
    parser.add_argument("--set", type=json.loads, default={}, help="other fields of tiger.Settings, as JSON")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    print("| system | of | " + " | ".join(METRICS) + " | ours / published |")
    shown: dict[str, Row] = {}
    for row in (rows_of_tiger if given.system == "tiger" else rows_of_sasrec)(given, Results(given.out)):
        published = PUBLISHED[row["of"]]
        pairs = zip(METRICS, published.figures, strict=True)
        cells = " | ".join(f"{row['test'][name]} ({theirs})" for name, theirs in pairs)
        name = f"{row['of']} {row['settings'].get('histories', '')} {row['budget']}"
        print(f"| {name} | {published.source} | {cells} | {row.get('ratios', '')} |", flush=True)
        shown[name] = row
    ratios = {name: row["ratios"] for name, row in shown.items() if "ratios" in row}
    print(json.dumps({"ratios": ratios, "metrics": METRICS, **shown}))


if __name__ == "__main__":
    main()
