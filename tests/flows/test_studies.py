"""The flows ``ablation`` and ``sweep`` on tiny generated data, on a real Prefect server and a real MLflow store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import mlflow
import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient
from parsed import Parsed
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterKey

from benchmarks.save_ranks import keep
from flows.ablation import ablation
from flows.mechanisms import mechanisms
from flows.pipeline_studies import check_studies
from flows.rerank_table import rerank_table
from flows.shared.side_by_side import side_by_side
from flows.sweep import sweep
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.errors import ConfigError, TrainingError
from gensr_model.evaluation.evaluate import RANKS
from gensr_model.evaluation.metrics import summarize
from gensr_model.evaluation.saved_ranks import read_saved_ranks
from gensr_model.remote import worker
from tasks.compare import trials
from tasks.core.state_dir import tracking_uri
from tasks.remote import export

Tiny = Callable[..., PipelineConfig]
TRAIN = {"epochs": 1, "valid_samples": 40, "batch_size": 64}
VARIANTS = ["gensr", "no_cf_view", "search_only"]


def artifact(key: str, flow_run_id: str) -> str:
    with get_client(sync_client=True) as client:
        wanted = ArtifactFilter(
            key=ArtifactFilterKey(any_=[key]), flow_run_id=ArtifactFilterFlowRunId(any_=[UUID(flow_run_id)])
        )
        (result,) = client.read_artifacts(artifact_filter=wanted)
    return str(result.data)


def report(home: Path, summary: dict[str, Any]) -> Parsed:
    """The page of the flow run, which the artifact names and MLflow has."""
    place = home / "runs" / summary["flow_run_id"] / "report.html"
    assert str(place) in artifact(summary["study"], summary["flow_run_id"])
    logged = MlflowClient(tracking_uri()).list_artifacts(summary["mlflow"]["run_id"])
    assert "report.html" in {file.path for file in logged}
    return Parsed(place.read_text(encoding="utf-8"))


def children(client: MlflowClient, run_id: str) -> dict[str, Any]:
    experiment = client.get_run(run_id).info.experiment_id
    result = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{run_id}'")
    return {run.info.run_name: run for run in result}


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_server")
def test_the_ablation_trains_each_variant_with_each_seed_and_goes_on_where_it_stopped(
    home_with_data: Path, tmp_path: Path, tiny: Tiny
) -> None:
    once = tiny(train=TRAIN, ablation={"variants": VARIANTS, "concurrency": 1})
    first = ablation(once)
    models = ("finetune", "evaluate")
    assert not any(s["reused"] for s in first["stages"] if s["label"].startswith(models))
    summary = ablation(tiny(train=TRAIN, ablation={"variants": VARIANTS, "seeds": [0, 1], "concurrency": 1}))
    reused = {s["label"]: s["reused"] for s in summary["stages"]}
    assert {label for label, was in reused.items() if not was} == {
        f"{stage}-{variant}-seed1" for stage in models for variant in VARIANTS
    }, "seed 0 is not trained again, and the data and its candidates are the same for every seed"

    packed = tiny(train=TRAIN, ablation={"variants": [*VARIANTS, "no_soft_filter"], "seeds": [0, 1]})
    assert [job.name for job in export.out(tmp_path / "jobs", packed, "ablation").jobs] == [
        "no_soft_filter", "no_soft_filter-seed1"
    ], "what is packed to another machine is what the flow asks for"  # fmt: skip

    rows = {(row["task"], row["variant"]): row for row in summary["ablation"]}
    assert set(rows) == {
        *(("recommendation", v) for v in VARIANTS[:2]), *(("search", v) for v in VARIANTS)
    }  # fmt: skip
    for (task, variant), row in rows.items():
        scores = [summary["results"][task][name]["ndcg_at_5"] for name in (variant, f"{variant}-seed1")]
        assert row["value"] == pytest.approx(sum(scores) / 2)
        assert row["low"] <= row["change"] <= row["high"]
        assert row["seeds"] == 2
        assert (row["p_holm"] is None) == (variant == "gensr")
    assert scores[0] != scores[1], "another seed is another model"
    assert rows["search", "no_cf_view"]["value"] != rows["search", "gensr"]["value"]

    folder = home_with_data / "runs" / summary["flow_run_id"]
    table = (folder / "table.md").read_text(encoding="utf-8")
    assert "Seeds of training: 0, 1." in table
    assert "**What each part is worth**" in table
    assert "GenSR − CF view, seed 1" in table
    assert "GenSR − it: the mean of seeds 0, 1." in table
    assert table in artifact("ablation", summary["flow_run_id"])
    assert pq.read_table(folder / "ablation.parquet").to_pylist() == summary["ablation"]
    page = report(home_with_data, summary)
    assert {"ablation", "results", "training", "failed"} <= set(page.ids)
    assert not {"systems", "full", "sweep", "examples"} & set(page.ids)
    without = rows["search", "no_cf_view"]
    assert f"{100 * without['change']:+.1f}%".replace("-", "−") in page.text
    assert "GenSR − CF view, seed 1" in page.text
    client = MlflowClient(tracking_uri())
    parent = client.get_run(summary["mlflow"]["run_id"])
    mlflow.set_tracking_uri(tracking_uri())  # load_table asks the global store, whatever its client's is
    logged = client.load_table(parent.info.experiment_id, "ablation.json", [parent.info.run_id])
    assert logged["change"].tolist() == pytest.approx([row["change"] for row in summary["ablation"]])
    trial = children(client, parent.info.run_id)["no_cf_view-seed1"]
    assert (trial.data.params["variant"], trial.data.params["seed"]) == ("no_cf_view", "1")
    assert "evaluate-no_cf_view" in children(client, trial.info.run_id)

    _, parquet = keep(folder, tmp_path / "saved_ranks")
    assert parquet.name == "tiny-ablation-seed0-1.parquet"
    saved = read_saved_ranks(parquet)
    assert set(saved) == {*VARIANTS, *(f"{variant}-seed1" for variant in VARIANTS)}
    assert set(summarize(saved["search_only"])) == {"search"}


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_server")
def test_the_sweep_trains_each_point_once_and_chooses_on_valid(
    home_with_data: Path, tmp_path: Path, tiny: Tiny
) -> None:
    grids: dict[str, Any] = {"tau": [0.05, 0.09], "beta": [0.1]}
    summary = sweep(tiny(train=TRAIN, sweep=grids))
    points = [(row["tau"], row["beta"]) for row in summary["sweep"]]
    assert points == [(0.05, 0.1), (0.09, 0.1)]
    (chosen,) = (row for row in summary["sweep"] if row["chosen"])
    assert chosen["metric"] == max(row["metric"] for row in summary["sweep"])
    assert chosen["metric"] == pytest.approx((chosen["recommendation"] + chosen["search"]) / 2)
    assert not any(summary["results"].values())
    assert not (home_with_data / "store" / "evaluate").exists(), "the test split was never ranked"
    store, keys = home_with_data / "store" / "rank-valid", {s["label"]: s["key"] for s in summary["stages"]}
    for row in summary["sweep"]:
        ranks = pq.read_table(store / keys[f"rank-valid-{trials.Point(row['tau'], row['beta']).name}"] / RANKS)
        assert row["recommendation"] == pytest.approx(summarize(ranks)["recommendation"]["ndcg_at_5"])
        result = [row[f"{task}_change"] for task in ("recommendation", "search")]
        if row is chosen:
            assert result == [None, None]
        else:
            assert result == pytest.approx([row[t] / chosen[t] - 1 for t in ("recommendation", "search")])
            assert row["search_low"] <= row["search_change"] <= row["search_high"]
            assert 0 <= row["search_p"] <= row["search_p_holm"] <= 1
    table = (home_with_data / "runs" / summary["flow_run_id"] / "table.md").read_text(encoding="utf-8")
    assert "**Validation NDCG@5 of every point**" in table
    assert table in artifact("sweep", summary["flow_run_id"])
    page = report(home_with_data, summary)
    assert {"sweep", "training", "failed"} <= set(page.ids)
    assert not {"results", "ablation", "mechanisms"} & set(page.ids)
    assert f"Chosen on validation: τ {chosen['tau']:g}, β {chosen['beta']:g}" in page.text
    client = MlflowClient(tracking_uri())
    nested = children(client, summary["mlflow"]["run_id"])
    first, second = (nested[trials.Point(*point).name].info for point in points[:2])
    assert max(first.start_time, second.start_time) < min(first.end_time, second.end_time), "side by side"
    point = nested["tau=0.09-beta=0.1"]
    assert (point.data.params["tau"], point.data.params["beta"]) == ("0.09", "0.1")
    assert point.data.metrics["valid/metric"] == pytest.approx(summary["sweep"][1]["metric"])

    # Two more points, one of them trained elsewhere: packed is what the flow asks for, and it says where that is from.
    grids["beta"].append(0.3)
    packed = export.out(tmp_path / "jobs", tiny(train=TRAIN, sweep=grids), "sweep")
    assert [job.name for job in packed.jobs] == ["tau=0.05-beta=0.3"]
    assert worker.run(tmp_path / "jobs") == []
    assert export.back(tmp_path / "jobs") == [f"tau=0.05-beta=0.3: {made}" for made in ("finetune", "rank-valid")]
    grids["beta"].append(0.001)
    result = sweep(tiny(train=TRAIN, sweep=grids | {"concurrency": 1}))
    built = [s["label"] for s in result["stages"] if not s["reused"]]
    assert built == ["finetune-tau=0.05-beta=0.001", "rank-valid-tau=0.05-beta=0.001"]
    origin = {s["label"]: s["built_on"] for s in result["stages"] if s["built_on"]}
    assert origin == {f"{made}-tau=0.05-beta=0.3": "another machine's CPU" for made in ("finetune", "rank-valid")}
    nested = children(client, result["mlflow"]["run_id"])
    ours, theirs = (nested[f"tau=0.05-beta={beta}"].info.run_id for beta in ("0.001", "0.3"))
    assert "built_on" not in children(client, ours)["finetune-gensr"].data.tags
    stage = children(client, theirs)["finetune-gensr"]
    assert stage.data.tags["built_on"] == "another machine's CPU"
    assert stage.data.metrics["peak_memory_mb"] > 100
    assert report(home_with_data, result).text.count("reused, built on another machine's CPU") == 2


def test_the_papers_grids_are_eleven_runs() -> None:
    points = trials.points(PipelineConfig(preset="laptop"))
    assert len(points) == 11
    assert len({point.name for point in points}) == 11
    assert {(p.tau, p.beta) for p in points} == {
        *((tau, 0.1) for tau in (0.01, 0.03, 0.05, 0.07, 0.09)),
        *((0.05, beta) for beta in (0.001, 0.01, 0.1, 0.15, 0.2, 0.25, 0.3)),
    }


@pytest.mark.usefixtures("prefect_server")
def test_what_a_study_cannot_do_is_refused_before_anything_is_trained(gensr_home: Path, tiny: Tiny) -> None:
    of_search = {"prepare": {"protocols": ["uniform", "bm25"]}, "evaluation": {"protocol": "bm25"}}
    wrong: list[tuple[str, Callable[[PipelineConfig], Any], dict[str, Any], str]] = [
        ("ablation", ablation, {"train": {"tasks": "search"}}, "the ablation has variants for single tasks"),
        ("ablation", ablation, of_search | {"ablation": {"variants": ["recommendation_only"]}},
         r"Leave recommendation_only out of ablation\.variants"),
        ("ablation", ablation, {"ablation": {"variants": ["no_cf_view", "no_searches"]}},
         r"^no_searches would equal the configured GenSR.*\"enabled\": false.*Leave the variant out of abl"),
        ("ablation", ablation, {"model": {"departures": {"searches_in_text": {"leave_one_out": True}}},
                                "ablation": {"variants": ["no_cf_view", "no_leave_one_out"]}},
         "^no_leave_one_out would equal the configured GenSR"),
        ("rerank", rerank_table, {"train": {"tasks": "search"}},
         r"^train\.tasks is 'search'.*Set train\.tasks to both"),
        ("ablation", mechanisms, {"rerank": {"points": {"unisar": {"dropout": "a"}}}},
         r"^rerank\.points\.unisar\.dropout: 'a' does not fit"),
        ("sweep", sweep, {"sweep": {"tau": [], "beta": []}}, r"sweep\.tau and sweep\.beta are both empty"),
    ]  # fmt: skip
    for study, flow, changes, said in wrong:
        with pytest.raises(ConfigError, match=said):
            flow(tiny(**changes))
        with pytest.raises(ConfigError, match=said):
            check_studies(tiny(**changes, studies={study: True}))
    assert not (gensr_home / "store").exists()
    trials.check_ablation(tiny(**of_search, ablation={"variants": VARIANTS}))


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize("concurrency", [1, 3])
def test_a_trial_that_fails_is_named_and_holds_no_other_back(gensr_home: Path, concurrency: int) -> None:
    ended = []

    def work(trial: trials.Point, share: int) -> int:
        if trial.tau > 0.1:
            raise ValueError(f"no weights at {trial.tau}")
        ended.append(trial.tau)
        return share

    points = [trials.Point(tau, 0.1) for tau in (0.2, 0.01, 0.3, 0.05)]
    with pytest.raises(
        TrainingError, match=r"^tau=0\.2-beta=0\.1: no weights at 0\.2; tau=0\.3-beta=0\.1: no weights at 0\.3$"
    ):
        side_by_side(work, points, concurrency)
    assert sorted(ended) == [0.01, 0.05]
    assert side_by_side(work, points[1::2], concurrency) == [0 if concurrency == 1 else concurrency] * 2
