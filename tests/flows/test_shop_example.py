"""``examples/shop`` from its files to the published table, by the pipeline that everybody runs."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from flows.cli.config_tree import read_config
from flows.full_pipeline import full_pipeline
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.evaluation.reference import REFERENCES

pytestmark = [pytest.mark.usefixtures("prefect_server"), pytest.mark.slow]
ROOT = Path(__file__).resolve().parents[2]
TINY = (
    *("prepare.until=2025-01-15", "prepare.min_interactions=2", "prepare.negatives=20", "lightgcn.epochs=2"),
    *("model.max_history=8", "model.backbone.vocab_size=500", "model.backbone.d_model=32", "model.backbone.d_ff=64"),
    *("model.backbone.heads=2", "model.backbone.encoder_layers=1", "train.epochs=1", "train.two_head_epochs=1"),
    "model.departures.folds=2",
    *("train.valid_samples=40", "evaluation.max_test_samples=80", "analysis.enabled=false"),
)


def test_the_shop_goes_from_files_to_a_ranked_table(gensr_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    summary = full_pipeline(PipelineConfig.model_validate(read_config("examples/shop/shop.yaml", sets=TINY)))
    for task in ("recommendation", "search"):
        assert {"gensr", "two_head", "popularity"} <= set(summary["results"][task])
    assert set(REFERENCES) <= set(summary["results"]["search"])
    assert summary["results"]["search"]["bm25"]["recall_at_10"] > 0.8

    raw, prepared = (_manifest(gensr_home, stage) for stage in ("ingest", "prepare"))
    with (ROOT / "examples" / "shop" / "events.csv").open(encoding="utf-8", newline="") as file:
        events = list(csv.DictReader(file))
    counted = [row for row in events if row["action"] in ("click", "pin")]
    broken = [row for row in counted if not row["product_id"] or row["created_at"] == "unknown"]
    items = len((ROOT / "examples" / "shop" / "items.csv").read_text(encoding="utf-8").splitlines()) - 1
    assert broken
    assert (raw["read"], raw["rejected"]) == (len(events) + items, len(broken))
    assert raw["accepted"] + raw["rejected"] == raw["read"]
    assert prepared["split"]["by"] == "days"
    assert _texts(gensr_home, "queries") >= {"giesskanne", "töpfe & pfannen", "watering can"}
    assert any("Milchkännchen" in text and "milk jug" in text for text in _texts(gensr_home, "items"))


def _manifest(home: Path, stage: str) -> dict[str, Any]:
    (path,) = home.glob(f"store/{stage}/*/manifest.json")
    return dict(json.loads(path.read_text(encoding="utf-8")))


def _texts(home: Path, table: str) -> set[str]:
    (path,) = home.glob(f"store/prepare/*/{table}.parquet")
    return set(pq.read_table(path)["text" if table == "queries" else "title"].to_pylist())
