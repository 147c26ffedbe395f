"""Where each model of a run fails, from the ranks of its evaluation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from gensr_model.config.evaluation import StatisticsConfig
from gensr_model.data.prepared import PreparedDataset
from gensr_model.evaluation.diagnosis import diagnose, leads
from tasks.core.stage import StageResult
from tasks.evaluate.rank import read_ranks

_OURS = "gensr"
_NO_LEAD = dict.fromkeys(("baseline", "lead", "lead_low", "lead_high", "lead_p_holm"))


def diagnosis(
    prepared: StageResult, ranks: dict[str, StageResult], statistics: StatisticsConfig, seed: int
) -> list[dict[str, Any]]:
    """Rows of ``segments_of`` for the models of a run on its test split."""
    read = {name: read_ranks(result) for name, result in ranks.items()}
    return segments_of(PreparedDataset.open(prepared.path), read, statistics, seed)


def segments_of(
    dataset: PreparedDataset, ranks: Mapping[str, pa.Table], statistics: StatisticsConfig, seed: int = 0
) -> list[dict[str, Any]]:
    """Rows of ``diagnose`` with GenSR's lead over the best other model (``leads``), which is None for other models."""
    ours = leads(dataset, ranks, _OURS, statistics.bootstrap_samples, statistics.confidence, seed)
    by_segment = {(_OURS, lead.task, lead.by, lead.segment): lead for lead in ours}
    rows: list[dict[str, Any]] = []
    for row in diagnose(dataset, ranks).to_pylist():
        lead = by_segment.get((row["model"], row["task"], row["by"], row["segment"]))
        rows.append(row | (_NO_LEAD if lead is None else {name: _known(getattr(lead, name)) for name in _NO_LEAD}))
    return rows


def _known(value: Any) -> Any:
    """None for values that JSON does not have."""
    return None if isinstance(value, float) and math.isnan(value) else value
