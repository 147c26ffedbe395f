"""``compare/rerank-table`` on a real Prefect server: systems side by side, and a table also where one fails."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from built_once import link_stages, new_home
from mlflow import MlflowClient
from parsed import Parsed
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterKey

from flows.rerank_table import rerank_table
from gensr_model.baselines.registry import BASELINES
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.errors import ConfigError, DataError
from gensr_model.evaluation.metrics import RankCounts, counts_table, per_sample
from gensr_model.evaluation.saved_ranks import read_saved_ranks, widen
from tasks.compare.names import OURS
from tasks.core.state_dir import tracking_uri

RERANK = {"trials": 2, "trial_epochs": 1, "epochs": 2, "batch_size": 64, "concurrency": 2}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, mlflow_database: Path, tiny_data: Path) -> Path:
    """One state folder for these tests, with the data in it."""
    home = tmp_path_factory.mktemp("rerank") / "home"
    new_home(home, mlflow_database)
    link_stages(tiny_data, home)
    return home


@pytest.fixture
def gensr_home(store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GENSR_HOME", str(store))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return store


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize(
    ("rerank", "said"),
    [
        ({"systems": ["sasrek"]}, "'sasrek' is no system. Choose one of popularity, .*sasrec, .*or give module:Class"),
        ({"systems": ["own_baselines:Nobody"]}, "'own_baselines:Nobody' cannot be imported"),
        ({"systems": ["pathlib:Path"]}, "'pathlib:Path' is no Baseline"),
        ({"systems": ["sasrec", "sasrec"]}, "names a system twice"),
        ({"systems": ["popularity"], "saved_ranks": ["none.parquet"]}, "none.parquet does not exist, seen from"),
    ],
)
def test_what_cannot_be_compared_is_named_before_anything_is_trained(
    gensr_home: Path, tiny: Callable[..., PipelineConfig], rerank: dict[str, Any], said: str
) -> None:
    stages = set((gensr_home / "store").glob("*/*"))
    with pytest.raises(ConfigError, match=said):
        rerank_table(tiny(rerank=rerank))
    assert set((gensr_home / "store").glob("*/*")) == stages


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize(
    ("systems", "error", "said"),
    [
        ([], ConfigError, r"rerank\.saved_ranks .*saved\.parquet.: 'gone:Away' cannot be imported"),
        (["tem"], ConfigError, r"saved\.parquet has no ranks of tem"),
        (["aem"], DataError, "both hold aem"),
    ],
)
def test_what_kept_files_cannot_give_is_told_before_anything_is_trained(
    gensr_home: Path,
    tmp_path: Path,
    tiny: Callable[..., PipelineConfig],
    systems: list[str],
    error: type[Exception],
    said: str,
) -> None:
    one = RankCounts(np.array([5], np.int32), np.array([0], np.int32))
    ranks = counts_table(["s0"], ["search"], one, np.array([10]))
    pq.write_table(widen({"popularity": ranks, "gone:Away": ranks, "aem": ranks}), tmp_path / "saved.parquet")
    saved = [{"path": str(tmp_path / "saved.parquet"), "systems": systems}] * (1 + (systems == ["aem"]))
    stages = set((gensr_home / "store").glob("*/*"))
    with pytest.raises(error, match=said):
        rerank_table(tiny(rerank={"systems": ["popularity"], "saved_ranks": saved}))
    assert set((gensr_home / "store").glob("*/*")) == stages


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_server")
def test_all_systems_stand_in_one_table_and_one_that_fails_says_why(
    gensr_home: Path, tiny: Callable[..., PipelineConfig]
) -> None:
    systems = ["popularity", "bm25", "own_baselines:Bias", "own_baselines:Broken", "gensr"]
    summary = rerank_table(tiny(rerank=RERANK | {"systems": systems, "seeds": [0, 1], "tune": False}))
    why = {(f["name"], f["seed"]): f["error"] for f in summary["failed"]}
    assert set(why) == {("own_baselines:Broken", 0), ("own_baselines:Broken", 1)}
    assert "ZeroDivisionError: no | way" in why["own_baselines:Broken", 0]

    folder = gensr_home / "runs" / summary["flow_run_id"]
    rows = pq.read_table(folder / "table.parquet").to_pylist()
    result = {(r["task"], r["system"]): r for r in rows if r["metric"] == "ndcg_at_10"}
    assert {s for t, s in result if t == "recommendation"} == {"popularity", "own_baselines:Bias", "gensr"}
    assert {s for t, s in result if t == "search"} == {"popularity", "bm25", "own_baselines:Bias", "gensr"}
    assert result["search", "gensr"]["seeds"] == result["search", "own_baselines:Bias"]["seeds"] == 2
    assert result["search", "bm25"]["seeds"] == 1

    # The table is the mean over the seeds of the ranks that lie beside it.
    ranks = read_saved_ranks(folder / "ranks.parquet")
    assert {"gensr/seed0", "gensr/seed1", "own_baselines:Bias/seed1", "popularity"} <= set(ranks)
    of_task = [ranks[f"gensr/seed{s}"].filter(pc.field("task") == "search") for s in (0, 1)]
    seeds = [per_sample(table, "ndcg_at_10").mean() for table in of_task]
    assert result["search", "gensr"]["mean"] == pytest.approx(np.mean(seeds))
    assert result["search", "gensr"]["deviation"] == pytest.approx(np.std(seeds, ddof=1))
    assert seeds[0] != seeds[1]

    assert {(v["task"], v["metric"]) for v in summary["verdicts"]} >= {("search", "ndcg_at_5")}
    assert all(v["p"] <= v["p_holm"] <= 1 for v in summary["verdicts"])
    for name in ("own_baselines:Bias", "gensr"):
        cost = summary["costs"][name]
        assert 100 < cost["peak_memory_mb"] < 10_000
        assert min(cost["parameters"], cost["seconds_per_epoch"], cost["seconds_to_score"]) > 0

    table = (folder / "table.md").read_text(encoding="utf-8")
    assert "### Recommendation (Table 2)" in table
    assert table.count("**") >= 16  # a best one in each of eight columns
    assert r"no \| way" in table
    with get_client(sync_client=True) as client:
        wanted = ArtifactFilter(
            key=ArtifactFilterKey(any_=["rerank-table"]),
            flow_run_id=ArtifactFilterFlowRunId(any_=[UUID(summary["flow_run_id"])]),
        )
        (artifact,) = client.read_artifacts(artifact_filter=wanted)
    assert table in str(artifact.data)
    assert "report.html" in str(artifact.data)
    page = Parsed((folder / "report.html").read_text(encoding="utf-8"))
    assert {"systems", "training", "failed", "table-systems-search", "table-systems-verdicts"} <= set(page.ids)
    assert not {"results", "speed", "ablation"} & set(page.ids)
    assert f"{result['search', 'gensr']['mean']:.4f}" in page.text
    assert "ZeroDivisionError: no | way" in page.text
    assert "Broken was not ranked with seed 0 and 1." in page.text
    mlflow = MlflowClient(tracking_uri())
    logged = {f.path for f in mlflow.list_artifacts(summary["mlflow"]["run_id"])}
    assert {"rerank_table.json", "table.parquet", "ranks.parquet", "table.md", "summary.json", "report.html"} <= logged

    # A second run trains nothing that is finished, also where another system has joined.
    built = {p: p.stat().st_mtime_ns for p in (gensr_home / "store").rglob("model.safetensors")}
    joined = ["item_knn", "own_baselines:Bias", "gensr"]
    again = rerank_table(tiny(rerank=RERANK | {"systems": joined, "seeds": [0, 1], "tune": False}))
    assert all(s["reused"] for s in again["stages"] if s["label"] != "evaluate-item_knn")
    assert {p: p.stat().st_mtime_ns for p in (gensr_home / "store").rglob("model.safetensors")} == built
    old = {(r["task"], r["system"], r["metric"]): r for r in summary["results"]}
    shared = [r for r in again["results"] if r["system"] != "item_knn"]
    assert [old[r["task"], r["system"], r["metric"]] for r in shared] == shared
    assert json.loads((gensr_home / "runs" / "latest" / "summary.json").read_text(encoding="utf-8")) == again


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.slow
def test_baselines_and_gensr_are_tuned_on_valid_and_a_killed_process_is_a_row(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    mlflow_database: Path,
    tiny_data: Path,
    tiny: Callable[..., PipelineConfig],
) -> None:
    # A state folder of its own: the trainings in it are counted, and another test's would be among them or not.
    home = tmp_path / "home"
    new_home(home, mlflow_database)
    link_stages(tiny_data, home)
    monkeypatch.setenv("GENSR_HOME", str(home))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    killed = ["own_baselines:Killed", "own_baselines:KilledAtRanking"]
    summary = rerank_table(tiny(rerank=RERANK | {"systems": ["sasrec", *killed, "gensr"], "tune": True}))
    assert [failed["name"] for failed in summary["failed"]] == killed
    assert all("killed by signal 9" in failed["error"] for failed in summary["failed"])
    assert set(summary["chosen"]["sasrec"]) == set(BASELINES["sasrec"].grid)
    assert set(summary["chosen"]["gensr"]) <= set(OURS["gensr"])
    trained = list((home / "store" / "finetune").glob("*/training.json"))
    assert len(trained) == RERANK["trials"]  # the training with what was chosen is one of the trials
    tuned = [json.loads(p.read_text(encoding="utf-8")) for p in (home / "store" / "tune").glob("*/tuning.json")]
    mlflow, run_id = MlflowClient(tracking_uri()), summary["mlflow"]["run_id"]
    tried = json.loads(
        Path(mlflow.download_artifacts(run_id, "tuning_gensr.json", str(tmp_path))).read_text(encoding="utf-8")
    )
    assert set(tried["columns"]) == {*OURS["gensr"], "valid_ndcg_at_5"}
    assert len(tried["data"]) == RERANK["trials"]
    assert [tuning["chosen"] for tuning in tuned].count(summary["chosen"]["sasrec"]) == 1
    assert [len(tuning["trials"]) for tuning in tuned] == [RERANK["trials"]] * 2  # SASRec's, and of what dies later
