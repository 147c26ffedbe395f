"""Expectations on ``candidates_{valid,test}.parquet`` of a prepared dataset, row by row.

Audits check the items of the lists.
"""

from __future__ import annotations

from collections.abc import Sequence

import great_expectations as gx
from great_expectations import expectations as gxe

from expectations.common import non_empty


def suite(split: str, negatives: int, protocols: Sequence[str], shortest: int) -> gx.ExpectationSuite:
    """Frame: sample_id, protocol, items (length of the list, between ``shortest`` and ``negatives``)."""
    return gx.ExpectationSuite(
        name=f"prepared_candidates_{split}",
        expectations=[
            non_empty(f"there is at least one list of {split} candidates"),
            gxe.ExpectColumnValuesToNotBeNull(column="sample_id", notes="every list has its sample_id"),
            gxe.ExpectCompoundColumnsToBeUnique(
                column_list=["sample_id", "protocol"], notes="a sample has one list per protocol"
            ),
            gxe.ExpectColumnDistinctValuesToEqualSet(
                column="protocol",
                value_set=list(protocols),
                notes="every protocol of prepare.protocols is there, and no other",
            ),
            gxe.ExpectColumnValuesToBeBetween(
                column="items",
                min_value=shortest,
                max_value=negatives,
                notes=f"a list has {negatives} items"
                + (", those of the protocol shown fewer" if shortest < negatives else ""),
            ),
        ],
    )
