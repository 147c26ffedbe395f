"""Challenges of a champion in a real registry, night after night: order, record, anchors."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from logged_model import Logged
from mlflow import MlflowClient
from ranked_data import data_of

from flows.shared import challenges
from flows.shared.challenges import published_challenge
from gensr_model.config.base import TASKS, Task
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.evaluation.metrics import RANKS_SCHEMA
from tasks.core.stage import StageResult
from tasks.core.state_dir import state_dir
from tasks.core.tracking import Tracked, parent_run
from tasks.promote import model_registry, rule
from tasks.promote.challenge import Challenge
from tasks.promote.record import DECISION, LATEST, Decision, read_decision

Tiny = Callable[..., PipelineConfig]
SAMPLES = 1_500
STEP = 1 / math.log2(10) - 1 / math.log2(11)  # NDCG@10 that a positive loses by falling from place 9 to place 10


class Nights:
    """Nightly challenges with models of a known NDCG@10, all others of whose files are one untrained model's."""

    def __init__(self, logged: Logged, run: Tracked, config: PipelineConfig, folder: Path) -> None:
        self.logged, self.run, self.config, self.folder = logged, run, config, folder
        self.name = model_registry.served_name(config)
        self.quality: dict[str, float] = {}  # of each bundle's key
        self.ranked_notes: list[str] = []
        self.tasks: tuple[Task, ...] = TASKS  # of the data of the next nights

    def ranks(self, key: str) -> StageResult:
        """On each task, as many of the samples one place lower as make up the lost quality."""
        folder = self.folder / key
        folder.mkdir(exist_ok=True)
        fallen = round(-self.quality[key] / STEP * SAMPLES)
        rows = [
            {"sample_id": f"{task}-{n}", "task": task, "greater": 8 + (n < fallen), "ties": 0, "candidates": 100}
            for task in self.tasks
            for n in range(SAMPLES)
        ]
        pq.write_table(pa.Table.from_pylist(rows, schema=RANKS_SCHEMA), folder / "ranks.parquet")
        metrics = {f"{task}/samples": float(SAMPLES) for task in self.tasks}
        return StageResult("evaluate", key, folder, metrics, 0.0, False)

    def night(self, quality: float, key: str | None = None) -> Decision:
        """A new model, or again the one of a key."""
        key = key or f"m{len(self.quality)}"
        self.quality[key] = quality
        new, ranks = self.logged.bundle._replace(key=key), self.ranks(key)

        def rank(bundle: StageResult, note: str) -> StageResult:
            self.ranked_notes.append(note)
            return self.ranks(bundle.key)

        self.challenge = challenge = Challenge(self.config, self.name, "flow-run", LATEST)
        challenge.begin(self.run)
        challenge.find_champion()
        prepared = data_of(self.folder / f"{key}-{len(list(self.folder.iterdir()))}-prepared", [ranks]).prepared
        manifest = prepared.path / "manifest.json"
        manifest.write_text(json.dumps({"tasks": self.tasks}), encoding="utf-8")
        verdict = challenge.decide(new, ranks, rank, prepared)
        assert challenge.decision.outcome == "failed", "nothing has happened yet"
        challenge.apply(verdict, self.logged.uri, new)
        return challenge.decision

    def anchors(self) -> dict[Task, str]:
        champion = model_registry.champion(self.run, self.name)
        assert champion is not None
        return champion.anchors

    def champion_quality(self) -> float:
        champion = model_registry.champion(self.run, self.name)
        assert champion is not None
        return self.quality[champion.bundle.key]


@pytest.fixture
def nights(
    logged: Logged, tiny: Tiny, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Callable[..., Nights]]:
    with parent_run(PipelineConfig(), "retrain/nightly", "5" * 8) as run:

        def make(**retrain: object) -> Nights:
            config = tiny(name=request.node.name, retrain=retrain)
            return Nights(logged, run, config, tmp_path)

        yield make


def saved() -> Decision:
    return read_decision(state_dir().runs / LATEST / DECISION)


def test_a_promotion_whose_tags_fail_stays_a_promotion(
    nights: Callable[..., Nights], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The alias has moved by then: a record that says "failed" would be wrong."""

    def unreachable(*_: object) -> None:
        assert saved().outcome == "promoted", "the record is there before"
        raise ConnectionError("MLflow does not answer")

    series = nights()
    monkeypatch.setattr(model_registry, "tag_outcome", unreachable)
    with pytest.raises(ConnectionError) as error:
        series.night(0.0)
    series.challenge.fail(error.value)
    assert series.champion_quality() == 0.0
    record = saved()
    assert record.outcome == "promoted"
    assert record.reason.endswith("After that the run failed. ConnectionError: MLflow does not answer")


def test_ten_nights_that_each_lose_a_little_end_in_kept(nights: Callable[..., Nights]) -> None:
    """Each model is .004 worse than the champion of its night, with bounds that the champion alone allows."""
    series = nights()
    assert series.night(0.0).outcome == "promoted"
    decisions = [series.night(series.champion_quality() - 0.004) for _ in range(10)]
    assert [decision.outcome for decision in decisions] == ["promoted", *["kept"] * 9]
    assert series.champion_quality() >= -0.005
    assert all(d.differences["search"].low > -0.005 for d in decisions), "the champion alone allows each"
    last = decisions[-1]
    assert last.failed_tasks == TASKS
    assert last.anchor_versions == dict.fromkeys(TASKS, "1")
    assert last.anchor_differences["search"].mean == pytest.approx(-0.008, abs=1e-5)
    assert "or losses add up" in last.reason


def test_ten_nights_after_a_loss_that_was_allowed_each_end_in_kept(nights: Callable[..., Nights]) -> None:
    series = nights()
    series.night(0.0)
    assert series.night(-0.002).outcome == "promoted"
    assert [series.night(-0.006).outcome for _ in range(10)] == ["kept"] * 10
    assert series.champion_quality() == -0.002


def test_without_the_anchor_losses_add_up(nights: Callable[..., Nights]) -> None:
    series = nights(anchor=False)
    series.night(0.0)
    for _ in range(2):
        assert series.night(series.champion_quality() - 0.004).outcome == "promoted"
    assert series.champion_quality() == -0.008
    assert not any(series.ranked_notes), "no anchor is ranked"


def test_without_the_anchor_a_better_model_is_its_own_anchor_only_where_the_champion_is_the_anchor(
    nights: Callable[..., Nights],
) -> None:
    series = nights(anchor=False)
    for quality, anchor in ((-0.006, "1"), (-0.004, "2"), (-0.008, "2"), (-0.001, "2")):
        assert series.night(quality).outcome == "promoted"
        assert series.anchors() == dict.fromkeys(TASKS, anchor)
    assert not any(series.ranked_notes)


@pytest.mark.parametrize(("quality", "anchor"), [(-0.001, "3"), (-0.005, "1")], ids=["better", "a little worse"])
def test_an_anchor_that_is_the_champions_own_model_is_not_ranked(
    nights: Callable[..., Nights], monkeypatch: pytest.MonkeyPatch, quality: float, anchor: str
) -> None:
    """Renewed with other code that answers requests, the champion is version 2 of the model that version 1 is."""
    series = nights()
    series.night(-0.004)
    monkeypatch.setattr(rule, "serving_code", lambda: "of tomorrow")
    assert series.night(-0.004, key="m0").reason.startswith("Champion version 1, renewed")
    decision = series.night(quality)
    assert (decision.outcome, decision.anchor_versions["search"]) == ("promoted", "1")
    assert decision.anchor_differences == decision.differences
    assert series.ranked_notes == [""]
    assert series.anchors() == dict.fromkeys(TASKS, anchor)


def test_gains_over_a_champion_that_had_lost_do_not_move_the_anchor(nights: Callable[..., Nights]) -> None:
    """Down by .004, up by .002, again and again: the anchor stays the first champion until one is better than it."""
    series = nights()
    series.night(-0.004)
    outcomes = [series.night(q).outcome for q in (-0.008, -0.006, -0.010, -0.008, -0.012)]
    assert outcomes == ["promoted", "promoted", "kept", "promoted", "kept"]
    better = series.night(-0.001)
    assert (better.outcome, better.anchor_versions["search"]) == ("promoted", "1")
    assert series.anchors() == dict.fromkeys(TASKS, better.new_version)
    series.ranked_notes.clear()
    assert series.night(-0.005).outcome == "promoted"
    assert series.ranked_notes == [""], "the anchor is the champion: it is ranked once"


def test_a_champion_of_one_task_is_followed_by_one_of_both_and_each_says_so(nights: Callable[..., Nights]) -> None:
    series = nights()
    series.tasks = ("search",)
    assert [series.night(quality).outcome for quality in (-0.001, -0.002)] == ["promoted", "promoted"]
    assert saved().tasks == ("search",)
    assert "tasks: search alone, as the data have no sample of the other" in saved().lines()
    assert series.anchors() == {"search": "1"}
    series.tasks = TASKS
    both = series.night(-0.002)
    assert (both.outcome, set(both.differences), both.tasks) == ("promoted", {"search"}, TASKS)
    assert series.anchors() == {"search": "1", "recommendation": "3"}
    tags = [series.run.client.get_model_version(series.name, str(n)).tags["tasks"] for n in (1, 2, 3)]
    assert tags == ["search", "search", "recommendation,search"]


def test_versions_are_tagged_with_what_happened_to_them(
    nights: Callable[..., Nights], monkeypatch: pytest.MonkeyPatch
) -> None:
    series = nights()
    series.night(0.0)
    series.night(-0.009)
    move = model_registry.promote

    def moved_meanwhile(run: Tracked, name: str, *given: str | None) -> None:
        run.client.set_registered_model_alias(name, model_registry.CHAMPION, "2")
        move(run, name, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(model_registry, "promote", moved_meanwhile)
    with pytest.raises(model_registry.ChampionMoved):
        series.night(0.0)
    tags = [series.run.client.get_model_version(series.name, str(n)).tags for n in (1, 2, 3)]
    assert [tag["outcome"] for tag in tags] == ["promoted", "kept", "failed"]
    assert "is now version 2, not 1 as at the comparison" in tags[2]["decision"]
    assert "first model" in tags[0]["decision"]


def test_an_anchor_that_was_deleted_is_named_with_the_tags_to_set(nights: Callable[..., Nights]) -> None:
    series = nights()
    series.night(0.0)
    series.night(-0.002)
    series.run.client.delete_model_version(series.name, "1")
    with pytest.raises(model_registry.DataError, match=r"version 1 .* was deleted\. Set the champion's tags anchor_"):
        series.night(-0.002)


@pytest.mark.usefixtures("gensr_home")
def test_a_cancelled_run_leaves_its_record(tiny: Tiny) -> None:
    """Prefect ends a cancelled run by an exception that is no Exception: there is time for a file, not for servers."""
    opened = parent_run(PipelineConfig(), "retrain/nightly", "6" * 8)
    with pytest.raises(KeyboardInterrupt), published_challenge(opened, tiny(), "gensr-tiny", "champion", LATEST):
        raise KeyboardInterrupt
    record = saved()
    assert (record.outcome, record.new_version) == ("failed", None)
    assert record.reason.startswith("KeyboardInterrupt")


KEPT = "Champion version 3 stays."
LOST = "ConnectionError: MLflow does not answer"


@pytest.mark.usefixtures("gensr_home")
@pytest.mark.parametrize(
    ("fault", "outcome", "reasons"),
    [
        ("open", "failed", [LOST]),
        ("block", "failed", [LOST]),
        ("publish", "kept", [KEPT, f"{KEPT} After that the run failed. {LOST}"]),
        ("end", "kept", [KEPT, f"{KEPT} After that the run failed. {LOST}"]),
        ("nowhere", "kept", [KEPT]),
    ],
)
def test_the_record_is_written_before_it_is_published_wherever_mlflow_fails(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, fault: str, outcome: str, reasons: list[str]
) -> None:
    published: list[str] = []

    def check(place: str) -> None:
        if place == fault:
            raise ConnectionError("MLflow does not answer")

    @contextmanager
    def opened() -> Iterator[Tracked]:
        check("open")
        yield Tracked(MlflowClient(), "0", "a" * 32)
        check("end")

    def publish(decision: Decision, key: str) -> None:
        assert saved() == decision, key
        published.append(decision.reason)
        check("publish")

    monkeypatch.setattr(challenges, "publish_decision", publish)
    with (
        nullcontext() if fault == "nowhere" else pytest.raises(ConnectionError) as raised,
        published_challenge(opened(), tiny(), "gensr-tiny", "champion", LATEST) as challenge,
    ):
        check("block")
        challenge.decision = challenge.decision.model_copy(update={"outcome": "kept", "reason": KEPT})
    record = saved()
    assert (record.outcome, record.reason) == (outcome, reasons[-1])
    assert record.mlflow_run_id == (None if fault == "open" else "a" * 32)
    assert published == reasons
    if fault == "publish":
        assert raised is not None
        assert "could not be reported: ConnectionError" in raised.value.__notes__[0]
