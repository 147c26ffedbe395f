"""What ``candidates_{valid,test}.parquet`` of a prepared dataset promise, row by row; their items are audits."""

from __future__ import annotations

import great_expectations as gx
from great_expectations import expectations as gxe

from expectations.common import key, non_empty


def suite(split: str, negatives: int) -> gx.ExpectationSuite:
    """Frame: sample_id, protocol, items (length of the list). ``negatives``: the length that it must have."""
    return gx.ExpectationSuite(
        name=f"prepared_candidates_{split}",
        expectations=[
            non_empty(f"there is at least one list of {split} candidates"),
            *key("sample_id"),
            gxe.ExpectColumnValuesToBeInSet(
                column="protocol", value_set=["uniform"], notes="candidates are drawn uniformly"
            ),
            gxe.ExpectColumnValuesToBeBetween(
                column="items",
                min_value=negatives,
                max_value=negatives,
                notes=f"a list has {negatives} items",
            ),
        ],
    )
