"""Properties of logs that decide which simple rankers are strong: repeats, popularity, newcomers.

    python -m benchmarks.log_properties ../shared/data/amazon-beauty ../shared/data/amazon-scientific

Prints a table: the demo's generated data, generated files in KuaiSAR's format, and each folder of raw files.
docs/reference/generated_data.md has the figures and where other logs differ.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import prepared
from benchmarks.sides import arguments
from gensr_model.data.prepared import PreparedDataset
from tasks.ingest.ingest import format_of

TOP, LAST = 0.1, 0.1  # share of the items, and of the events


class LogProperties(NamedTuple):
    """Shares and means of one prepared dataset. NaN where the data have no events of the kind."""

    events_per_user: float  # recommendation events
    searches_per_query: float
    known_queries: float  # test searches whose query training has
    repeats_by_user: float  # searches with a query that their user had searched before
    items_per_query: float  # distinct engaged items of a search's query, median over searches
    top_tenth: float  # events with one of the most frequent tenth of the items
    gini: float  # of events over items
    new_items: float  # events of the last tenth whose item has no event before that tenth
    new_users: float
    unseen_items: float  # test samples whose item training lacks
    unseen_users: float


TITLES = (
    "Recommendation events per user, mean",
    "Searches per query, mean",
    "Test searches with a query that training has",
    "Searches that repeat a query of the same user",
    "Items per query, median over searches",
    "Events with the most frequent tenth of the items",
    "Gini coefficient of events over items",
    "Last tenth of the events: with an item that is new there",
    "Last tenth of the events: by a user who is new there",
    "Test samples with an item that training lacks",
    "Test samples with a user whom training lacks",
)  # of the fields above, in their order


def log_properties(dataset: PreparedDataset) -> LogProperties:
    """The properties of the engaged events that preparing left, and of the format's own split."""
    events, moment = dataset.events, dataset.table("events")["ts"].to_numpy()
    searched = events.query >= 0
    query, user, item = events.query[searched], events.user[searched], events.item[searched]
    pairs, repeats = np.unique(np.column_stack([query, item]), axis=0), len(query)
    repeats -= len(np.unique(np.column_stack([query, user]), axis=0))
    count = np.sort(np.bincount(events.item))
    count = count[count > 0]
    order = np.argsort(moment, kind="stable")
    last = moment >= moment[order[int((1 - LAST) * len(order))]]
    train, test = dataset.samples("train"), dataset.samples("test")
    asked = test.query >= 0
    return LogProperties(
        events_per_user=_ratio(int(np.sum(~searched)), len(np.unique(events.user))),
        searches_per_query=_ratio(len(query), len(np.unique(query))),
        known_queries=_share(np.isin(test.query[asked], train.query)),
        repeats_by_user=_ratio(repeats, len(query)),
        items_per_query=float(np.median(np.bincount(pairs[:, 0])[query])) if len(query) else np.nan,
        top_tenth=float(count[-max(1, round(TOP * len(count))) :].sum() / count.sum()),
        gini=float((2 * np.arange(1, len(count) + 1) - len(count) - 1) @ count / (len(count) * count.sum())),
        new_items=_share(~np.isin(events.item[last], events.item[~last])),
        new_users=_share(~np.isin(events.user[last], events.user[~last])),
        unseen_items=_share(~np.isin(test.item, train.item)),
        unseen_users=_share(~np.isin(test.user, train.user)),
    )


def _ratio(part: int, whole: int) -> float:
    return float(part) / whole if whole else np.nan


def _share(rows: NDArray[np.bool_]) -> float:
    return float(np.mean(rows)) if len(rows) else np.nan


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("folders", type=Path, nargs="*", help="folders of raw files, whose format is found")
    given = parser.parse_args()
    columns = {
        "demo": log_properties(prepared(0, 0, {"kind": "generated"})[0]),
        "generated KuaiSAR": log_properties(prepared(0, 0, {"kind": "generated"}, format="kuaisar")[0]),
    }
    for folder in given.folders:
        source = {"kind": "folder", "path": str(folder.resolve())}
        columns[folder.name] = log_properties(prepared(0, 0, source, format=format_of(folder)[0])[0])
    print(f"| property | {' | '.join(columns)} |")
    print("|---" * (len(columns) + 1) + "|")
    for title, *values in zip(TITLES, *columns.values(), strict=True):
        print(f"| {title} | {' | '.join(f'{value:.3g}' for value in values)} |")


if __name__ == "__main__":
    main()
