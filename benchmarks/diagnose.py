"""Where the models of a stored run fail: metrics by kind of user, target and query, without new training.

    python -m benchmarks.diagnose RANKS.parquet .gensr/store/prepare/<key>

Prints the tables that a run's own summary has.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.sides import arguments
from gensr_model.config.evaluation import StatisticsConfig
from gensr_model.data.prepared import PreparedDataset
from gensr_model.evaluation.saved_ranks import read_saved_ranks
from gensr_model.reporting.renderers import markdown
from gensr_model.reporting.run_facts import RunFacts
from gensr_model.reporting.run_tables import segments
from tasks.evaluate.diagnose import segments_of


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("saved_ranks", type=Path, help="ranks of benchmarks.save_ranks, or a cell of docs/results")
    parser.add_argument("prepared", type=Path, help="the prepared dataset of that run")
    given = parser.parse_args()
    rule = StatisticsConfig()
    ranks = read_saved_ranks(given.saved_ranks)
    rows = segments_of(PreparedDataset.open(given.prepared), ranks, rule)
    facts = RunFacts({"config": {"statistics": rule.model_dump()}})
    print("\n".join(map(markdown, segments(facts, rows))))


if __name__ == "__main__":
    main()
