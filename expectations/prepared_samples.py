"""Expectations on the three ``samples_*.parquet`` of a prepared dataset, row by row. Audits check leaks."""

from __future__ import annotations

from collections.abc import Sequence

import great_expectations as gx
from great_expectations import expectations as gxe

from expectations.common import index, key, non_empty


def suite(split: str, tasks: Sequence[str] = ("recommendation", "search")) -> gx.ExpectationSuite:
    """``split``: train, valid or test; ``tasks``: those of the dataset, of which every split has samples."""
    return gx.ExpectationSuite(
        name=f"prepared_samples_{split}",
        expectations=[
            non_empty(f"there is at least one {split} sample"),
            *key("sample_id"),
            gxe.ExpectColumnValuesToMatchRegex(
                column="sample_id", regex="^[0-9a-f]{16}$", notes="a sample id is 16 hex digits"
            ),
            gxe.ExpectColumnDistinctValuesToEqualSet(
                column="task", value_set=list(tasks), notes=f"tasks are there, and no other: {', '.join(tasks)}"
            ),
            *index("user_idx"),
            *index("item_idx"),
            *index("history_end"),
        ],
    )
