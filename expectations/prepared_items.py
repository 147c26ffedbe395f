"""Expectations on ``items.parquet`` of a prepared dataset."""

from __future__ import annotations

import great_expectations as gx
from great_expectations import expectations as gxe

from expectations.common import index, key, non_empty


def suite() -> gx.ExpectationSuite:
    """Frame: item_idx, raw_id and, per text field, the text or null."""
    return gx.ExpectationSuite(
        name="prepared_items",
        expectations=[
            non_empty("there is at least one item"),
            *index("item_idx"),
            gxe.ExpectColumnValuesToBeUnique(column="item_idx", notes="no item_idx stands twice"),
            *key("raw_id"),
            *(
                gxe.ExpectColumnValuesToNotBeNull(column=column, notes="text may be empty, not null")
                for column in ("title", "brand", "description", "category_text")
            ),
        ],
    )
