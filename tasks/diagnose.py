"""Where each model of a run fails, from the ranks that its evaluations wrote."""

from __future__ import annotations

from typing import Any

from gensr_model.data.prepared import PreparedDataset
from gensr_model.evaluation.diagnosis import diagnose
from tasks.evaluate import read_ranks
from tasks.stage import StageResult


def diagnosis(prepared: StageResult, ranks: dict[str, StageResult]) -> list[dict[str, Any]]:
    """Rows of ``gensr_model.evaluation.diagnosis.diagnose`` for the models of a run on its test split."""
    dataset = PreparedDataset.open(prepared.path)
    found = diagnose(dataset, {name: read_ranks(result) for name, result in ranks.items()})
    rows: list[dict[str, Any]] = found.to_pylist()
    return rows
