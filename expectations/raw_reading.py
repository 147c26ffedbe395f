"""Expectations on the manifest of ``raw/``: every row of a file is accounted for."""

from __future__ import annotations

import great_expectations as gx
from great_expectations import expectations as gxe


def suite() -> gx.ExpectationSuite:
    """Frame: a row (read, accounted) per input file and one of all; accounted = accepted + rejected."""
    return gx.ExpectationSuite(
        name="raw_reading",
        expectations=[
            gxe.ExpectColumnPairValuesToBeEqual(
                column_A="read", column_B="accounted", notes="accepted + rejected = read"
            )
        ],
    )
