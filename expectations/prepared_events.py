"""Expectations on ``events.parquet`` of a prepared dataset, row by row. Audits check order and duplicates."""

from __future__ import annotations

from collections.abc import Sequence

import great_expectations as gx
from great_expectations import expectations as gxe

from expectations.common import index, non_empty, within_time


def suite(earliest_ms: int, latest_ms: int, behaviors: Sequence[str] = ("rec", "src")) -> gx.ExpectationSuite:
    """``earliest_ms``, ``latest_ms``: the first and last credible time of an event, ms since 1970 UTC.

    ``behaviors``: those of the dataset.
    """
    return gx.ExpectationSuite(
        name="prepared_events",
        expectations=[
            non_empty("there is at least one event"),
            *index("user_idx"),
            *index("item_idx"),
            *within_time("ts", earliest_ms, latest_ms),
            gxe.ExpectColumnDistinctValuesToEqualSet(
                column="behavior",
                value_set=list(behaviors),
                notes=f"behaviors are there, and no other: {', '.join(behaviors)}",
            ),
        ],
    )
