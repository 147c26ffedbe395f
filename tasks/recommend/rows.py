"""The rows that a batch writes, wherever they go."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

FIELD = "recommend.output"
SCHEMA = pa.schema(
    [
        ("user", pa.string()),
        ("query", pa.string()),  # empty for a recommendation
        ("rank", pa.int32()),  # from 1
        ("item", pa.string()),
        ("score", pa.float64()),
        ("source", pa.string()),
        ("version", pa.string()),
    ]
)
Counts = dict[str, Any]  # JSON: what a shard holds
