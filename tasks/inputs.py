"""What every model of a run is trained and judged on."""

from __future__ import annotations

from typing import NamedTuple

import pyarrow as pa

from gensr_model.data.prepared import PreparedDataset
from tasks.stage import StageResult


class Data(NamedTuple):
    """The stages before any model."""

    source: StageResult
    prepared: StageResult
    checks: StageResult  # of prepared: its profile, and the bins that later data are compared with
    cf: StageResult
    stages: list[StageResult]  # all that ran, in order, for the summary


def ranked_users(prepared: StageResult) -> pa.Table:
    """The user of every test sample: whom comparisons resample."""
    return PreparedDataset.open(prepared.path).users("test")
