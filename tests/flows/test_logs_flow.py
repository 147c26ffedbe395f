"""Own logs from a CSV with queries in several scripts to the published table, by the pipeline that everybody runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from shop_logs import shop

from flows.full_pipeline import full_pipeline
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.evaluation.reference import NEEDS_QUERY, REFERENCES

pytestmark = [pytest.mark.usefixtures("prefect_server"), pytest.mark.slow]


@pytest.mark.parametrize(("preset", "searches"), [("best", 0.5), ("laptop", 0.0), ("laptop", 1.0)])
def test_own_logs_go_from_files_to_a_table(
    preset: str, searches: float, tiny: Callable[..., PipelineConfig], gensr_home: Path, tmp_path: Path
) -> None:
    config = tiny(
        name="shop",
        format="logs",
        preset=preset,
        source=str(shop(tmp_path / "shop", searches)),
        model={"departures": {"folds": 6}, "max_history": 8},
        studies={},
    )
    summary = full_pipeline(config)
    results = summary["results"]
    searched = {"gensr", "two_head", *REFERENCES} if searches else set()
    recommended = {"gensr", "two_head", *REFERENCES} - set(NEEDS_QUERY) if searches < 1 else set()
    assert set(results["search"]) == searched
    assert set(results["recommendation"]) == recommended
    if searches:
        assert results["search"]["bm25"]["recall_at_10"] > 0.7
    prepared = json.loads(next(gensr_home.glob("store/prepare/*/manifest.json")).read_text(encoding="utf-8"))
    assert prepared["split"]["by"] == "leave_one_out"
    page = (gensr_home / "runs" / summary["flow_run_id"] / "report.html").read_text(encoding="utf-8")
    assert ("The logs hold no search: models are trained for recommendation alone" in page) == (searches == 0)
    assert ("The logs hold no recommendation: models are trained for search alone" in page) == (searches == 1)
