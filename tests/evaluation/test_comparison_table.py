"""Tables 2 and 3: means over seeds."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest

from gensr_model.evaluation.comparison_table import means, seeds_text
from gensr_model.evaluation.metrics import ranks_table


def ranks(above: list[int], task: str) -> pa.Table:
    """Positives with so many of nine candidates above them."""
    scores = np.where(np.arange(9) < np.array(above)[:, None], 2.0, 0.0)
    ids = [f"{task}{n}" for n in range(len(above))]
    return ranks_table(ids, [task] * len(above), np.column_stack([np.ones(len(above)), scores]))


def test_means_are_over_seeds_and_a_task_that_a_system_does_not_serve_has_no_row() -> None:
    both = pa.concat_tables([ranks([0, 9], "search"), ranks([0, 0], "recommendation")])
    rows = means({"a": [both, pa.concat_tables([ranks([0, 0], "search"), ranks([9, 9], "recommendation")])],
                  "b": [ranks([2, 2], "search")]})  # fmt: skip
    result = {(r["task"], r["system"]): r for r in rows if r["metric"] == "recall_at_1"}
    assert set(result) == {("recommendation", "a"), ("search", "a"), ("search", "b")}
    searched = result["search", "a"]  # .5 and 1
    assert (searched["mean"], searched["seeds"], searched["samples"]) == (0.75, 2, 2)
    assert searched["deviation"] == pytest.approx(math.sqrt(0.125))
    assert result["recommendation", "a"]["mean"] == 0.5
    assert math.isnan(result["search", "b"]["deviation"])


@pytest.mark.parametrize(
    ("counts", "said"),
    [([], "1 seed"), ([1, 1], "1 seed"), ([2, 2], "mean of 2 seeds"), ([3, 1, 2], "means of 1 to 3 seeds")],
)
def test_a_table_says_over_how_many_seeds_its_means_are(counts: list[int], said: str) -> None:
    assert seeds_text(iter(counts)) == said
