"""Expectations on ``raw/rec.parquet`` (KuaiSAR), on which prepare relies."""

from __future__ import annotations

import great_expectations as gx
from great_expectations import expectations as gxe

from expectations.common import identified, non_empty, within_time


def suite(earliest_ms: int, latest_ms: int) -> gx.ExpectationSuite:
    """``earliest_ms``, ``latest_ms``: the first and last credible time of a delivery, ms since 1970 UTC."""
    return gx.ExpectationSuite(
        name="raw_rec",
        expectations=[
            non_empty("there is at least one recommended video"),
            *identified("user"),
            *identified("item"),
            *within_time("ts", earliest_ms, latest_ms),
            gxe.ExpectColumnValuesToNotBeNull(column="click", notes="every delivery states whether it was clicked"),
            gxe.ExpectColumnValuesToBeInSet(column="click", value_set=[0, 1], notes="click is 0 or 1"),
        ],
    )
