"""The summary of a sweep: each point's change from the chosen one, where there is any."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from ranked_data import data_of
from test_summary import evaluated

from gensr_model.config.pipeline import PipelineConfig
from tasks.core.stage import StageResult
from tasks.evaluate.rank import rank_valid
from tasks.publish.study_summary import CHANGE, Point, summarize_sweep

FIRST, OTHER = Point(0.05, 0.1), Point(0.09, 0.1)
BEST, SECOND = [(0, 0)] * 6, [(1, 0), (0, 0)] * 3
NOWHERE = [(9, 0)] * 6  # below rank 5 everywhere


def trained(folder: Path, metric: float) -> StageResult:
    folder.mkdir()
    training = {"steps": 8, "epochs": 1.0, "best_metric": metric, "stopped": "all epochs done"}
    validation = {"metric": metric, "recommendation/ndcg_at_5": metric, "search/ndcg_at_5": metric}
    (folder / "training.json").write_text(json.dumps(training | {"validations": [validation]}), encoding="utf-8")
    return StageResult("finetune", folder.name, folder, {}, 0.25, False, f"finetune-{folder.name}")


def test_a_point_is_compared_in_the_tasks_in_which_the_chosen_one_gains(tmp_path: Path) -> None:
    first = evaluated(tmp_path, "first", recommendation=BEST, search=NOWHERE)
    other = evaluated(tmp_path, "other", recommendation=SECOND, search=BEST)
    data = data_of(tmp_path / "prepared", [first, other])
    shutil.copy(data.prepared.path / "samples_test.parquet", data.prepared.path / "samples_valid.parquet")
    models = {FIRST: trained(tmp_path / "a", 0.6), OTHER: trained(tmp_path / "b", 0.5)}
    config = PipelineConfig()
    rows = summarize_sweep(config, data, {FIRST: (models[FIRST], first), OTHER: (models[OTHER], other)})["sweep"]
    assert [row["chosen"] for row in rows] == [True, False]
    assert rows[1]["recommendation_change"] == pytest.approx((1 + 0.6309) / 2 - 1, abs=1e-4)
    assert rows[1]["recommendation_p_holm"] == rows[1]["recommendation_p"], "the only one that is tested"
    assert {rows[1][f"search_{name}"] for name in CHANGE} == {None}, "relative to nothing"
    assert {rows[0][f"{task}_{name}"] for task in ("recommendation", "search") for name in CHANGE} == {None}

    nothing = evaluated(tmp_path, "nothing", recommendation=NOWHERE, search=NOWHERE)
    rows = summarize_sweep(config, data, {FIRST: (models[FIRST], nothing), OTHER: (models[OTHER], other)})["sweep"]
    assert {row[f"{task}_change"] for row in rows for task in ("recommendation", "search")} == {None}


def test_valid_ranks_are_found_again_by_what_they_read() -> None:
    given = [StageResult("raw", key, Path(), {}, 0.0, False) for key in "ab"]
    base = rank_valid.key(PipelineConfig(), *given, option="gensr")
    for changes, same in (
        ({"evaluation": {"max_test_samples": 9}}, True),
        ({"train": {"valid_samples": 9}}, False),
        ({"evaluation": {"protocol": "bm25"}, "prepare": {"protocols": ["uniform", "bm25"]}}, False),
    ):
        changed = PipelineConfig.model_validate(changes)
        assert (rank_valid.key(changed, *given, option="gensr") == base) is same, changes
