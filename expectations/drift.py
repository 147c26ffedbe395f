"""Expectations on the drift of a retraining's data from the champion's training data."""

from __future__ import annotations

from collections.abc import Iterable

import great_expectations as gx
from great_expectations import expectations as gxe


def suite(features: Iterable[str], max_psi: float) -> gx.ExpectationSuite:
    """Frame: one row, a column per feature with its population stability index. ``max_psi``: retrain.max_psi."""
    return gx.ExpectationSuite(
        name="drift",
        expectations=[
            gxe.ExpectColumnValuesToBeBetween(
                column=feature,
                max_value=max_psi,
                notes=f"{feature} is spread as in the champion's data: PSI at most retrain.max_psi",
            )
            for feature in features
        ],
    )
