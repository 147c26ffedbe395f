"""``compare/full-ranking-table`` on a real Prefect server: systems over the catalogue, apart from the other table's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient
from parsed import Parsed

from flows.full_ranking_table import full_ranking_table
from flows.rerank_table import rerank_table
from flows.shared.system_table import rank_all
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.errors import ConfigError
from gensr_model.evaluation.metrics import per_sample
from gensr_model.evaluation.saved_ranks import read_saved_ranks
from gensr_model.reporting.run_facts import RERANK as RERANK_TABLE
from tasks.core.stage import StageResult
from tasks.core.state_dir import tracking_uri
from tasks.publish.comparison_table import Failed

RERANK = {"trials": 2, "trial_epochs": 1, "epochs": 2, "batch_size": 64, "concurrency": 2}


def test_systems_that_rank_no_catalogue_are_named_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: Callable[..., PipelineConfig]
) -> None:
    monkeypatch.setenv("GENSR_HOME", str(tmp_path))
    with pytest.raises(
        ConfigError, match=r"systems: two_head, din can only rank given candidates.* Choose from popularity, .*bsr"
    ):
        full_ranking_table.fn(tiny(rerank={"systems": ["two_head", "din"]}))
    with pytest.raises(ConfigError, match="'sasrek' is no system"):
        full_ranking_table.fn(tiny(rerank={"systems": ["sasrek", "sasrec"]}))
    with pytest.raises(ConfigError, match=r"^semantic_ids\.levels is 2, but TIGER reads 3"):
        full_ranking_table.fn(tiny(rerank={"systems": ["sasrec", "tiger"]}, semantic_ids={"levels": 2}))
    assert not (tmp_path / "store").exists()


@pytest.mark.usefixtures("prefect_server")
def test_a_system_that_the_formats_texts_cannot_make_is_a_row_and_trains_nothing(
    tiny: Callable[..., PipelineConfig],
) -> None:
    none = StageResult("", "", Path(), {}, 0.0, False)
    config = tiny(format="kuaisar", rerank={"systems": ["idgenrec"], "seeds": [0, 1]})
    (row,) = rank_all("no run", config, none, none, RERANK_TABLE)
    assert isinstance(row, Failed)
    assert row[:2] == ("idgenrec", 0)
    assert row.error.endswith("here these are anonymised (the paper's footnote 6)")


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_server")
def test_dense_and_generative_systems_stand_in_one_table_over_the_catalogue(
    home_with_data: Path, tiny: Callable[..., PipelineConfig]
) -> None:
    config = tiny(
        rerank=RERANK | {"systems": ["popularity", "bm25", "sasrec", "bsr", "two_head", "gensr"], "tune": True},
        full_ranking={"epochs": 1, "valid_samples": 40},
    )
    reranked: Any = config.rerank.model_copy(update={"systems": ("popularity", "bsr")})
    before = rerank_table(config.model_copy(update={"rerank": reranked}))
    summary = full_ranking_table(config)
    assert summary["failed"] == []
    assert summary["left_out"] == ["Two heads"]
    assert set(summary["chosen"]) == {"popularity", "bm25", "sasrec", "bsr", "gensr"}

    folder = home_with_data / "runs" / summary["flow_run_id"]
    rows = pq.read_table(folder / "table.parquet").to_pylist()
    result = {(r["task"], r["system"]): r["mean"] for r in rows if r["metric"] == "ndcg_at_10"}
    assert {s for t, s in result if t == "recommendation"} == {"popularity", "sasrec", "bsr", "gensr"}
    assert {s for t, s in result if t == "search"} == {"popularity", "bm25", "bsr", "gensr"}
    ranks = read_saved_ranks(folder / "ranks.parquet")
    of_task = ranks["bsr"].filter(pc.field("task") == "search")
    assert result["search", "bsr"] == pytest.approx(per_sample(of_task, "ndcg_at_10").mean())
    (record,) = (home_with_data / "store" / "prepare").glob("*/items.parquet")
    items = pq.read_metadata(record).num_rows
    assert items > pc.min(of_task["candidates"]).as_py() > config.prepare.negatives + 1
    assert summary["among"] == f"all {items:,} items, without those the user had met"
    assert {name for name, cost in summary["costs"].items() if "invalid_ids" in cost} == {"bsr"}
    assert all(cost["seconds_to_score"] > 0 for cost in summary["costs"].values())

    page = Parsed((folder / "report.html").read_text(encoding="utf-8"))
    assert {"catalogue", "training", "table-catalogue-search", "table-catalogue-verdicts"} <= set(page.ids)
    assert not {"systems", "results", "full"} & set(page.ids)
    logged = {f.path for f in MlflowClient(tracking_uri()).list_artifacts(summary["mlflow"]["run_id"])}
    assert {"full_ranking_table.json", "tuning_gensr.json", "ranks.parquet", "report.html"} <= logged

    # Each table has a BSR of its own, and neither is trained again.
    again = rerank_table(config.model_copy(update={"rerank": reranked}))
    assert [(s["key"], s["reused"]) for s in again["stages"]] == [(s["key"], True) for s in before["stages"]]
    assert all(stage["reused"] for stage in full_ranking_table(config)["stages"])
    for stage in ("train-baseline", "train-baseline-full"):
        trained = [
            f
            for f in (home_with_data / "store" / stage).glob("*/config.json")
            if '"BSR"' in f.read_text(encoding="utf-8")
        ]
        assert len(trained) == 1, stage
