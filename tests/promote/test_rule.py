"""The rule of promotion on ranks: never worse than the champion, and never worse than the anchors."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ranked_data import data_of

from gensr_model.config.base import TASKS, Task
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.errors import ConfigError, DataError
from gensr_model.evaluation.metrics import RANKS_SCHEMA
from tasks.core.stage import StageResult
from tasks.evaluate.run_data import ranked_users
from tasks.promote.model_registry import Champion
from tasks.promote.record import Difference
from tasks.promote.rule import Verdict, compare, first_model, non_inferiority, require_tasks

Tiny = Callable[..., PipelineConfig]
Places = dict[str, list[int]]


def ranked(folder: Path, places: Places) -> StageResult:
    """An evaluation in which every positive has the given number of candidates above it."""
    rows = [
        {"sample_id": f"{task}-{n}", "task": task, "greater": place, "ties": 0, "candidates": 100}
        for task, greater in places.items()
        for n, place in enumerate(greater)
    ]
    folder.mkdir()
    pq.write_table(pa.Table.from_pylist(rows, schema=RANKS_SCHEMA), folder / "ranks.parquet")
    metrics = {f"{task}/samples": float(len(greater)) for task, greater in places.items()}
    return StageResult("evaluate", "k", folder, metrics, 0.0, False)


def users_of(evaluation: StageResult, per_user: int = 1) -> pa.Table:
    """Whose the samples are: ``per_user`` of them, as they come, of one user."""
    return ranked_users(data_of(evaluation.path / "prepared", [evaluation], per_user).prepared)


def champion(version: str = "3", recommendation: str = "3", search: str = "3") -> Champion:
    bundle = StageResult("champion", "old", Path(), {}, 0.0, True)
    anchors: dict[Task, str] = {"recommendation": recommendation, "search": search}
    return Champion(version, bundle, None, "none", "code", anchors)


def verdict_on(folder: Path, new: Places, old: Places, config: PipelineConfig, per_user: int = 1) -> Verdict:
    """The verdict on a new model whose champion is its own anchor."""
    a, b = ranked(folder / "a", new), ranked(folder / "b", old)
    differences = compare(a, b, users_of(a, per_user), config, TASKS)
    return non_inferiority(champion(), differences, {}, config, TASKS)


GOOD, BAD = [0] * 50, [8] * 50


@pytest.mark.parametrize(
    ("new", "old", "failed"),
    [
        ({"recommendation": GOOD, "search": GOOD}, {"recommendation": BAD, "search": BAD}, ()),
        ({"recommendation": GOOD, "search": GOOD}, {"recommendation": GOOD, "search": GOOD}, ()),
        ({"recommendation": GOOD, "search": BAD}, {"recommendation": BAD, "search": GOOD}, ("search",)),
        ({"recommendation": BAD, "search": GOOD}, {"recommendation": GOOD, "search": BAD}, ("recommendation",)),
    ],
    ids=["better", "the same", "search lost", "recommendation lost"],
)
def test_only_a_model_that_is_not_worse_on_either_task_is_promoted(
    tmp_path: Path, tiny: Tiny, new: Places, old: Places, failed: tuple[str, ...]
) -> None:
    verdict = verdict_on(tmp_path, new, old, tiny())
    assert verdict.promote is not bool(failed)
    assert verdict.failed_tasks == failed
    assert verdict.reason.startswith(
        f"Champion version 3 stays: the lower bound of NDCG@10, new − champion, is {failed[0]} -0.6990; above -0.0050"
        if failed
        else "Not worse than champion version 3"
    )
    written = {task: difference.model_dump(mode="json") for task, difference in verdict.differences.items()}
    assert json.loads(json.dumps(written, allow_nan=False)) == written, "JSON has no NaN for an undefined test"


def test_the_bound_counts_not_the_mean(tmp_path: Path, tiny: Tiny) -> None:
    """A slightly better mean with a wide interval does not promote; a δ as wide as the interval does."""
    new = {"recommendation": [0] * 6 + [30] * 4, "search": GOOD}
    old = {"recommendation": [30] * 5 + [0] * 5, "search": GOOD}
    (tmp_path / "strict").mkdir()
    (tmp_path / "wide").mkdir()
    strict = verdict_on(tmp_path / "strict", new, old, tiny())
    assert strict.differences["recommendation"].mean > 0
    assert not strict.promote
    assert verdict_on(tmp_path / "wide", new, old, tiny(retrain={"delta": 1.0})).promote


def test_samples_of_one_user_count_as_one_user_and_not_as_many(tmp_path: Path, tiny: Tiny) -> None:
    """Five users of forty samples, one of them worse served: taken one by one that would be no doubt."""
    new = dict.fromkeys(TASKS, [0] * 160 + [4] * 40)
    old = dict.fromkeys(TASKS, [1] * 160 + [0] * 40)
    rule = tiny(retrain={"delta": 0.02})
    for folder in ("each", "five"):
        (tmp_path / folder).mkdir()
    assert verdict_on(tmp_path / "each", new, old, rule).promote
    together = verdict_on(tmp_path / "five", new, old, rule, per_user=40)
    assert not together.promote
    assert (together.differences["search"].samples, together.differences["search"].users) == (200, 5)


def test_a_task_without_samples_cannot_be_verdict_on(tmp_path: Path, tiny: Tiny) -> None:
    only = ranked(tmp_path / "a", {"recommendation": GOOD})
    with pytest.raises(DataError, match="no search sample"):
        compare(only, only, users_of(only), tiny(), TASKS)


def test_a_config_that_leaves_out_a_task_of_the_data_is_refused_before_anything_is_trained(tiny: Tiny) -> None:
    searched = tiny(prepare={"negatives": 20, "protocols": ("uniform", "bm25")}, evaluation={"protocol": "bm25"})
    with pytest.raises(ConfigError, match="draws candidates for search only"):
        require_tasks(searched, TASKS, None)
    with pytest.raises(ConfigError, match="tasks is 'search', but the data have recommendation and search"):
        require_tasks(tiny(train={"tasks": "search"}), TASKS, None)
    require_tasks(searched, ("search",), None)
    require_tasks(tiny(train={"tasks": "search"}), ("search",), None)
    require_tasks(tiny(), TASKS, champion())


def serving(task: Task, version: str = "3") -> Champion:
    return champion(version)._replace(anchors={task: version})


@pytest.mark.parametrize("task", TASKS)
def test_logs_of_one_task_decide_by_it_alone(tmp_path: Path, tiny: Tiny, task: Task) -> None:
    assert first_model((task,)).anchors == {task: None}
    good, bad = ranked(tmp_path / "a", {task: GOOD}), ranked(tmp_path / "b", {task: BAD})
    for new, old, kept in ((good, bad, False), (bad, good, True)):
        differences = compare(new, old, users_of(new), tiny(), (task,))
        verdict = non_inferiority(serving(task), differences, {}, tiny(), (task,))
        assert (verdict.promote, verdict.failed_tasks) == (not kept, (task,) if kept else ())
        assert verdict.anchors == {task: "3" if kept else None}


def test_a_champion_of_one_task_beside_data_of_both_decides_by_its_own(tiny: Tiny) -> None:
    require_tasks(tiny(), TASKS, serving("search"))
    verdict = non_inferiority(serving("search"), {"search": difference(-0.001)}, {}, tiny(), TASKS)
    assert verdict.promote
    assert verdict.reason.endswith("The champion does not serve recommendation, so nothing is compared there.")
    assert verdict.anchors == {"recommendation": None, "search": "3"}
    assert not non_inferiority(serving("search"), {"search": difference(-0.1)}, {}, tiny(), TASKS).promote


@pytest.mark.parametrize("served", [champion(), serving("recommendation")])
def test_data_without_a_task_of_the_champion_are_refused_before_anything_is_trained(
    tiny: Tiny, served: Champion
) -> None:
    with pytest.raises(DataError, match="no sample of recommendation, which champion version 3 serves: it stays"):
        require_tasks(tiny(), ("search",), served)


def difference(mean: float, half_width: float = 0.0005) -> Difference:
    low, high = mean - half_width, mean + half_width
    return Difference(mean=mean, low=low, high=high, p=None, samples=1_000, users=900)


def test_a_loss_that_the_champion_allows_is_refused_by_the_anchor(tiny: Tiny) -> None:
    """Per task: search is measured against version 1, recommendation against the champion itself."""
    small = dict.fromkeys(TASKS, difference(-0.004))
    verdict = non_inferiority(champion(search="1"), small, {"search": difference(-0.008)}, tiny(), TASKS)
    assert not verdict.promote
    assert verdict.failed_tasks == ("search",)
    assert "new − anchor, is search -0.0085" in verdict.reason
    assert non_inferiority(champion(), small, {}, tiny(), TASKS).promote


@pytest.mark.parametrize(
    ("anchor", "to_champion", "to_anchor", "next_anchor"),
    [
        ("3", 0.004, None, None),
        ("3", 0.0004, None, "3"),
        ("1", 0.004, None, "1"),
        ("1", 0.0004, 0.002, "1"),
        ("1", 0.004, -0.001, "1"),
        ("1", 0.006, 0.002, None),
    ],
    ids=[
        "better than champion and anchor in one",
        "not surely better",
        "not compared with the anchor",
        "better than the anchor only",
        "better than the champion only",
        "better than both",
    ],
)
def test_a_version_is_the_next_anchor_where_it_is_better_than_champion_and_anchor(
    tiny: Tiny, anchor: str, to_champion: float, to_anchor: float | None, next_anchor: str | None
) -> None:
    """Better than a champion that had lost a little is no gain: gains over it and losses would add up to a loss."""
    anchored: dict[Task, Difference] = {} if to_anchor is None else {"search": difference(to_anchor)}
    differences = dict.fromkeys(TASKS, difference(-0.001)) | {"search": difference(to_champion)}
    verdict = non_inferiority(champion(search=anchor), differences, anchored, tiny(), TASKS)
    assert verdict.promote
    assert verdict.anchors == {"recommendation": "3", "search": next_anchor}
