"""The properties of a log against values that were counted by hand."""

from pathlib import Path

import numpy as np
import pytest
from small_dataset import Log, write_log

from benchmarks.log_properties import TITLES, LogProperties, log_properties

# Per row: user, round (2 is valid, 3 is test), search, item, query, time.
ROWS = [
    (0, 0, 0, 0, -1, 0), (0, 0, 1, 0, 0, 0), (0, 1, 1, 1, 0, 1), (0, 2, 0, 0, -1, 2), (0, 3, 1, 2, 1, 9),
    (1, 0, 0, 0, -1, 3), (1, 1, 1, 0, 1, 4), (1, 2, 0, 1, -1, 5), (1, 3, 0, 1, -1, 6), (1, 3, 1, 3, 2, 8),
    (2, 3, 0, 0, -1, 10),
]  # fmt: skip


def test_each_property_is_what_one_counts_by_hand(tmp_path: Path) -> None:
    log = Log(*np.array(ROWS).T)
    dataset = write_log(tmp_path / "prepared", log, list("abcd"), list("xyz"), lambda user, item: [0])
    expected = LogProperties(
        events_per_user=6 / 3,
        searches_per_query=5 / 3,
        known_queries=1 / 2,
        repeats_by_user=1 / 5,
        items_per_query=2,
        top_tenth=6 / 11,
        gini=17 / 44,
        new_items=1 / 2,
        new_users=1 / 2,
        unseen_items=2 / 4,
        unseen_users=1 / 4,
    )
    assert log_properties(dataset) == pytest.approx(expected)
    assert len(TITLES) == len(expected)


def test_a_log_without_searches_has_no_figure_for_them(tmp_path: Path) -> None:
    rows = np.array([row for row in ROWS if row[4] < 0])
    dataset = write_log(tmp_path / "prepared", Log(*rows.T), list("abcd"), [], lambda user, item: [0])
    result = log_properties(dataset)
    names = ("searches_per_query", "known_queries", "repeats_by_user", "items_per_query")
    assert all(np.isnan(getattr(result, name)) for name in names)
    assert result.events_per_user == 2
