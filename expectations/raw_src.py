"""Expectations on ``raw/src.parquet`` (KuaiSAR), on which prepare relies."""

from __future__ import annotations

import great_expectations as gx
from great_expectations import expectations as gxe

from expectations.common import identified, non_empty, within_time


def suite(earliest_ms: int, latest_ms: int) -> gx.ExpectationSuite:
    """``earliest_ms``, ``latest_ms``: the first and last credible time of a search, ms since 1970 UTC."""
    return gx.ExpectationSuite(
        name="raw_src",
        expectations=[
            non_empty("there is at least one search result"),
            *identified("user"),
            *identified("item"),
            *identified("session"),
            *within_time("ts", earliest_ms, latest_ms),
            gxe.ExpectColumnValuesToNotBeNull(column="query", notes="every search has a query, be it empty"),
            gxe.ExpectColumnValuesToNotBeNull(column="click_cnt", notes="every result counts its clicks"),
            gxe.ExpectColumnValuesToBeBetween(
                column="click_cnt", min_value=0, notes="a count of clicks is not negative"
            ),
        ],
    )
