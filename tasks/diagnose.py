"""Where each model of a run fails, from the ranks that its evaluations wrote."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from gensr_model.config import RetrainConfig
from gensr_model.data.prepared import PreparedDataset
from gensr_model.evaluation.diagnosis import Lead, diagnose, leads
from tasks.evaluate import read_ranks
from tasks.stage import StageResult

_OURS = "gensr"


def diagnosis(
    prepared: StageResult, ranks: dict[str, StageResult], how: RetrainConfig, seed: int
) -> list[dict[str, Any]]:
    """Rows of ``segments_of`` for the models of a run on its test split."""
    read = {name: read_ranks(result) for name, result in ranks.items()}
    return segments_of(PreparedDataset.open(prepared.path), read, how, seed)


def segments_of(
    dataset: PreparedDataset, ranks: Mapping[str, pa.Table], how: RetrainConfig, seed: int = 0
) -> list[dict[str, Any]]:
    """Rows of ``diagnose``, each with the fields of ``Lead``: GenSR's over the best other model, else None."""
    found = leads(dataset, ranks, _OURS, how.bootstrap_samples, how.confidence, seed)
    told = {(lead.task, lead.by, lead.segment): lead for lead in found}
    rows: list[dict[str, Any]] = []
    for row in diagnose(dataset, ranks).to_pylist():
        lead = told.get((row["task"], row["by"], row["segment"])) if row["model"] == _OURS else None
        more = dict.fromkeys(Lead._fields) if lead is None else lead._asdict()
        if lead is not None and math.isnan(lead.lead_p_holm):
            more["lead_p_holm"] = None
        rows.append(more | row)
    return rows
