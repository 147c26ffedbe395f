"""The audits as expectations: no query of ``sql/audit`` finds a row."""

from __future__ import annotations

from collections.abc import Mapping

import great_expectations as gx
from great_expectations import expectations as gxe


def suite(rules: Mapping[str, str]) -> gx.ExpectationSuite:
    """Frame: one row, a column per audit with the number of its violations. ``rules`` are the audits' rules."""
    return gx.ExpectationSuite(
        name="audits",
        expectations=[
            gxe.ExpectColumnValuesToBeInSet(column=name, value_set=[0], notes=rule) for name, rule in rules.items()
        ],
    )
