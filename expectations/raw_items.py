"""Expectations on ``raw/items.parquet`` of either format, on which prepare relies."""

from __future__ import annotations

import great_expectations as gx

from expectations.common import identified, non_empty


def suite() -> gx.ExpectationSuite:
    """Text may be missing (many Kindle items have no title) and an item listed twice; ids may not be missing."""
    return gx.ExpectationSuite(
        name="raw_items", expectations=[non_empty("there is metadata of at least one item"), *identified("item")]
    )
