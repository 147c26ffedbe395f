"""Expectations on the raw tables of own logs, on which prepare relies."""

from __future__ import annotations

import great_expectations as gx
from great_expectations import expectations as gxe
from great_expectations.expectations.row_conditions import Column

from expectations.common import identified, non_empty

_ENGAGED = Column("engagement").is_in(["rec", "src"])


def suites(earliest_ms: int, latest_ms: int) -> dict[str, gx.ExpectationSuite]:
    """By table. ``earliest_ms``, ``latest_ms``: the first and last credible time of an event, ms since 1970 UTC."""
    events = [
        non_empty("there is at least one event"),
        gxe.ExpectColumnValuesToBeInSet(
            column="engagement", value_set=["rec", "src", "shown", "ignored"], notes="every event type is known"
        ),
        *(
            gxe.ExpectColumnValuesToNotBeNull(
                column=column,
                notes=f"every engagement has its {column}",
                row_condition=_ENGAGED,
            )
            for column in ("user", "item", "ts")
        ),
        gxe.ExpectColumnValuesToBeBetween(
            column="ts",
            min_value=earliest_ms,
            max_value=latest_ms,
            notes="times of engagements are milliseconds UTC, after ingest.earliest and not in the future",
            row_condition=_ENGAGED,
        ),
    ]
    queries = gxe.ExpectColumnValuesToNotBeNull(column="query_id", notes="every search has its id")
    return {
        "events": gx.ExpectationSuite(name="raw_events", expectations=events),
        "queries": gx.ExpectationSuite(name="raw_queries", expectations=[queries]),
        "items": gx.ExpectationSuite(name="raw_items", expectations=[*identified("item")]),
    }
