"""Published figures for Amazon Beauty, and their protocol: whole catalogue, latest events left out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, NamedTuple

from benchmarks.common import prepared
from gensr_model.baselines.base import Baseline
from gensr_model.baselines.inputs import Collator
from gensr_model.config.base import Split, digest
from gensr_model.config.model import FullRankingConfig
from gensr_model.data.prepared import PreparedDataset
from gensr_model.errors import DataError
from gensr_model.evaluation.catalogue import rank_catalogue
from gensr_model.evaluation.metrics import summarize
from gensr_model.evaluation.scoring import fixed_subset
from gensr_model.runtime.progress import NullReport
from gensr_model.training.over_catalogue import baseline_scorer

COUNTS = {"users": 22_363, "items": 12_101, "events": 198_502}
METRICS = ("recall_at_5", "ndcg_at_5", "recall_at_10", "ndcg_at_10")
Histories = Literal["by-position", "strict"]
Row = dict[str, Any]  # a line of the file of results


class Published(NamedTuple):
    """Figures of others, and how they were measured."""

    source: str
    figures: tuple[float, float, float, float]  # METRICS
    masks: bool  # whether items of the user's history are no candidates


PUBLISHED = {
    "bce": Published(
        "S3-Rec (Zhou et al., CIKM 2020) and TIGER (Rajput et al., NeurIPS 2023)",
        (0.0387, 0.0249, 0.0605, 0.0318), True,
    ),
    "catalogue": Published(
        "RecBole's SASRec with cross-entropy (HonghuiBao2000/LETTER, issue 20)", (0.0543, 0.0315, 0.0821, 0.0405), False
    ),
    "tiger": Published("TIGER (Rajput et al., NeurIPS 2023)", (0.0454, 0.0321, 0.0648, 0.0384), False),
}  # fmt: skip


def beauty(source: Path, histories: Histories = "by-position") -> PreparedDataset:
    """Beauty, prepared. ``strict`` histories leave out purchases on the sample's day. Raises as check_counts does."""
    same_time = "include" if histories == "by-position" else "exclude"
    folder = {"kind": "folder", "path": str(source)}
    dataset, _ = prepared(users=0, items=0, source=folder, prepare={"same_time": same_time})
    check_counts(dataset)
    return dataset


def check_counts(dataset: PreparedDataset) -> None:
    """Raise DataError where the data are not the published ones."""
    events = int((dataset.events.behavior == 0).sum())
    counts = {"users": dataset.n_users, "items": dataset.n_items, "events": events}
    if counts != COUNTS:
        raise DataError(
            f"this is not Beauty as published: it has {counts}, not {COUNTS}. Download the published files."
        )


def catalogue_metrics(
    model: Baseline, collator: Collator, dataset: PreparedDataset, split: Split, masks: bool, most: int | None = None
) -> dict[str, float]:
    """METRICS over the whole catalogue: of a split's recommendation samples, or of ``most`` fixed ones of them."""
    every = dataset.samples(split)
    samples = every.take(fixed_subset(every, most, ("recommendation",)))
    score, settings = baseline_scorer(model.eval(), collator, masks), FullRankingConfig(mask_met=masks)
    result = summarize(rank_catalogue(score, dataset, samples, settings, 256, NullReport()))["recommendation"]
    return {name: result[name] for name in METRICS}


def rounded(metrics: dict[str, float]) -> dict[str, float]:
    """Metrics as they are shown."""
    return {name: round(value, 4) for name, value in metrics.items()}


class Results:
    """JSON lines, one for each finished (system, settings, budget)."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.rows: list[Row] = (
            [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.is_file() else []
        )

    def find(self, system: str, settings: dict[str, Any], budget: int) -> Row | None:
        """The existing line."""
        wanted = {"system": system, "settings": settings, "budget": budget}
        return next((row for row in self.rows if {name: row[name] for name in wanted} == wanted), None)

    def add(self, row: Row) -> Row:
        """Append a line; its ratios are ours / published, where the histories are the published ones."""
        published = PUBLISHED[row["of"]]
        if row["settings"].get("histories") != "strict":
            pairs = zip(METRICS, published.figures, strict=True)
            row["ratios"] = [round(row["test"][name] / theirs, 3) for name, theirs in pairs]
        row |= {split: rounded(row[split]) for split in ("valid", "test")}
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        self.rows.append(row)
        return row


def state_folder(state: Path, system: str, settings: dict[str, Any]) -> Path:
    """The folder of one training's checkpoints."""
    return state / f"{system}-{digest(settings)[:8]}"
