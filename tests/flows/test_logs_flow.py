"""Own logs from a CSV with queries in several scripts to the published table, by the pipeline that everybody runs."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.full_pipeline import full_pipeline
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.evaluation.reference import NEEDS_QUERY, REFERENCES

pytestmark = [pytest.mark.usefixtures("prefect_server"), pytest.mark.slow]
KINDS = ("Bücher", "红色 连衣裙", "Straße", "red shoe", "кофе чёрный", "ねこ", "हिन्दी")


def shop(folder: Path, searches: float, users: int = 120, items: int = 140, each: int = 9) -> Path:
    """Users with a taste for one kind of items each; a share of their clicks are searches for the kind's words."""
    draw = random.Random(0)
    folder.mkdir()
    with (folder / "items.csv").open("w", encoding="utf-8", newline="") as file:
        rows = [(f"i{n}", f"{KINDS[n % 7]} {n}", f"Home > {KINDS[n % 7]}") for n in range(items)]
        csv.writer(file).writerows([("sku", "title", "category"), *rows])
    with (folder / "events.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("user_id", "sku", "timestamp", "event_type", "query"))
        for user in range(users):
            for _ in range(each):
                item, time = draw.randrange(items // 7) * 7 + user % 7, 1_700_000_000 + draw.randrange(10 * 86_400)
                query = KINDS[item % 7].upper() if draw.random() < searches else ""
                writer.writerow((f"u{user}", f"i{item}", time, "click", query))
    return folder


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
