"""Retraining: who becomes champion, and when nobody new does."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient
from ranked_data import data_of

from flows.retrain import retrain
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.errors import ConfigError, DataError
from gensr_model.evaluation.metrics import RANKS_SCHEMA
from tasks.core.stage import StageResult
from tasks.core.tracking import tracking_uri
from tasks.evaluate.run_data import ranked_users
from tasks.promote.promotion import decide, require_both_tasks

Tiny = Callable[..., PipelineConfig]


def ranked(folder: Path, places: dict[str, list[int]], unknown: float = 0.0) -> StageResult:
    """An evaluation in which every positive has the given number of candidates above it."""
    rows = [
        {"sample_id": f"{task}-{n}", "task": task, "greater": place, "ties": 0, "candidates": 100}
        for task, found in places.items()
        for n, place in enumerate(found)
    ]
    folder.mkdir()
    pq.write_table(pa.Table.from_pylist(rows, schema=RANKS_SCHEMA), folder / "ranks.parquet")
    metrics = {f"{task}/samples": float(len(found)) for task, found in places.items()}
    return StageResult("evaluate", "k", folder, metrics | {"unknown_item_share": unknown}, 0.0, False)


def users_of(evaluation: StageResult, per_user: int = 1) -> pa.Table:
    """Whose the samples are, ``per_user`` of them, as they come, of one user."""
    return ranked_users(data_of(evaluation.path / "prepared", [evaluation], per_user).prepared)


GOOD, BAD = [0] * 50, [8] * 50


@pytest.mark.parametrize(
    ("new", "champion", "promoted"),
    [
        ({"recommendation": GOOD, "search": GOOD}, {"recommendation": BAD, "search": BAD}, True),
        ({"recommendation": GOOD, "search": GOOD}, {"recommendation": GOOD, "search": GOOD}, True),
        ({"recommendation": GOOD, "search": BAD}, {"recommendation": BAD, "search": GOOD}, False),
        ({"recommendation": BAD, "search": GOOD}, {"recommendation": GOOD, "search": BAD}, False),
    ],
    ids=["better", "the same", "search lost", "recommendation lost"],
)
def test_only_a_model_that_is_not_worse_on_either_task_is_promoted(
    tmp_path: Path, tiny: Tiny, new: dict[str, list[int]], champion: dict[str, list[int]], promoted: bool
) -> None:
    a, b = ranked(tmp_path / "a", new), ranked(tmp_path / "b", champion, 0.125)
    decision = decide(a, b, "3", users_of(a), tiny())
    assert decision.promote is promoted
    assert decision.new_version
    assert decision.says.startswith(
        "Promoted over champion version 3" if promoted else "Saved champion version 3"
    )
    assert "unknown to the champion: 12.5%" in decision.says
    assert all(
        map(math.isfinite, decision.metrics.values())
    )  # JSON has no NaN for a test that is not defined


def test_the_bound_counts_not_the_mean(tmp_path: Path, tiny: Tiny) -> None:
    """A slightly better mean with a wide interval does not promote; a δ as wide as the interval does."""
    new = {"recommendation": [0] * 6 + [30] * 4, "search": GOOD}
    champion = {"recommendation": [30] * 5 + [0] * 5, "search": GOOD}
    a, b = ranked(tmp_path / "a", new), ranked(tmp_path / "b", champion)
    strict = decide(a, b, "1", users_of(a), tiny())
    assert strict.metrics["difference/recommendation/mean_difference"] > 0
    assert not strict.promote
    assert decide(a, b, "1", users_of(a), tiny(retrain={"delta": 1.0})).promote


def test_samples_of_one_user_count_as_one_user_and_not_as_many(tmp_path: Path, tiny: Tiny) -> None:
    """Five users of forty samples, one of them worse served: taken one by one that would be no doubt."""
    new, champion = {}, {}
    for task in ("recommendation", "search"):
        new[task], champion[task] = [0] * 160 + [4] * 40, [1] * 160 + [0] * 40
    a, b = ranked(tmp_path / "a", new), ranked(tmp_path / "b", champion)
    rule = tiny(retrain={"delta": 0.02})
    alone = decide(a, b, "1", users_of(a), rule)
    together = decide(a, b, "1", users_of(a, per_user=40), rule)
    assert alone.promote
    assert not together.promote
    assert together.metrics["difference/search/users"] == 5
    assert "(n = 200, 5 users)" in together.says


def test_a_task_without_samples_cannot_be_judged(tmp_path: Path, tiny: Tiny) -> None:
    only = ranked(tmp_path / "a", {"recommendation": GOOD})
    with pytest.raises(DataError, match="no search sample"):
        decide(only, only, "1", users_of(only), tiny())


def test_a_search_only_protocol_is_refused_before_anything_is_trained(tiny: Tiny) -> None:
    searched = tiny(
        prepare={"negatives": 20, "protocols": ("uniform", "bm25")}, evaluation={"protocol": "bm25"}
    )
    with pytest.raises(ConfigError, match="draws candidates for search only"):
        require_both_tasks(searched)
    require_both_tasks(tiny())


@pytest.mark.usefixtures("prefect_server")
def test_first_run_promotes_itself_then_the_same_data_and_a_worse_model_keep_the_champion(
    gensr_home: Path, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "gensr-tiny"

    def promoted() -> str:
        return str(MlflowClient(tracking_uri()).get_model_version_by_alias(name, "champion").version)

    first = retrain(tiny(train={"epochs": 2, "valid_samples": 40, "batch_size": 32}))
    assert first["promoted"]
    assert "first model" in first["says"]
    assert promoted() == "1"

    same = retrain(tiny(train={"epochs": 2, "valid_samples": 40, "batch_size": 32}))
    assert not same["promoted"]
    assert "nothing has changed" in same["says"]
    assert len(MlflowClient(tracking_uri()).search_model_versions(f"name = '{name}'")) == 1

    with monkeypatch.context() as patch:
        patch.setattr("tasks.promote.promotion.serving_code", lambda: "of tomorrow")
        patch.setattr("tasks.promote.model_registry.serving_code", lambda: "of tomorrow")
        renewed = retrain(tiny(train={"epochs": 2, "valid_samples": 40, "batch_size": 32}))
    assert renewed["says"].startswith("Renewed champion version 1")
    assert promoted() == "2"
    MlflowClient(tracking_uri()).set_registered_model_alias(name, "champion", "1")

    grown = {"kind": "generated", "users": 220, "items": 200, "events_per_user": 10}
    untrained = {"epochs": 1, "learning_rate": 1e-9, "valid_samples": 40, "batch_size": 32}
    worse = retrain(tiny(source=grown, train=untrained, retrain={"delta": 0.0}))
    assert not worse["promoted"]
    assert worse["says"].startswith("Saved champion version 1")
    assert worse["metrics"]["champion_unknown_item_share"] > 0
    assert "data drift since the champion's data" in worse["says"].lower()
    assert worse["metrics"]["drift/psi/events_per_user"] > 0
    assert promoted() == "1"
    assert len(MlflowClient(tracking_uri()).search_model_versions(f"name = '{name}'")) == 3

    strict = {"max_psi": 0.0, "on_drift": "stop"}
    stopped = retrain(tiny(source=grown, seed=9, retrain=strict), return_state=True)
    assert stopped.is_failed()
    assert "retrain.on_drift is stop" in str(stopped.message)
    assert len(list((gensr_home / "store" / "finetune").glob("*.lock"))) == 2, "nothing was trained any more"
