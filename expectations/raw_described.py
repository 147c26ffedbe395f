"""Expectations on the item file about the items that events name."""

from __future__ import annotations

import great_expectations as gx
from great_expectations import expectations as gxe


def suite(max_share: float) -> gx.ExpectationSuite:
    """Frame: one row, the share of these items without a row in the item file. ``max_share``: of the config."""
    return gx.ExpectationSuite(
        name="raw_described",
        expectations=[
            gxe.ExpectColumnValuesToBeBetween(
                column="undescribed_share",
                max_value=max_share,
                notes="the item file describes the items of the events, but for ingest.max_undescribed_share of them",
            )
        ],
    )
