"""Expectations on ``raw/reviews.parquet`` (Amazon), on which prepare relies."""

from __future__ import annotations

import great_expectations as gx
from great_expectations import expectations as gxe

from expectations.common import identified, non_empty, within_time


def suite(earliest_ms: int, latest_ms: int) -> gx.ExpectationSuite:
    """``earliest_ms``, ``latest_ms``: the first and last credible time of a review, ms since 1970 UTC."""
    return gx.ExpectationSuite(
        name="raw_reviews",
        expectations=[
            non_empty("there is at least one review"),
            *identified("user"),
            *identified("item"),
            *within_time("ts", earliest_ms, latest_ms),
            gxe.ExpectColumnValuesToBeBetween(
                column="rating", min_value=0, max_value=5, notes="a rating, where given, is 0 to 5"
            ),
        ],
    )
