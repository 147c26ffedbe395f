"""A new model challenges the champion: decide, move the alias, record, and tag the version."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pyarrow as pa

from gensr_model.config.base import Task
from gensr_model.config.pipeline import PipelineConfig
from tasks.core.stage import StageResult
from tasks.core.tracking import Tracked
from tasks.evaluate.run_data import data_tasks, ranked_users
from tasks.promote import card, model_registry
from tasks.promote.model_registry import Champion
from tasks.promote.record import Decision, Difference, Outcome, save_decision
from tasks.promote.rule import Verdict, below, compare, first_model, non_inferiority, unchanged
from tasks.promote.versions import set_card

Rank = Callable[[StageResult, str], StageResult]  # (bundle, note of its label) -> ranks of the new test samples


class Challenge:
    """A new model against the champion of a registered model, in this order: decide, move the alias, record, tag.

    ``decision`` is the record so far. Its outcome is ``failed`` until the alias has moved or the champion stays.
    ``latest`` is the name in ``runs/`` that leads to the record, see ``point_latest``.
    """

    run: Tracked

    def __init__(self, config: PipelineConfig, name: str, flow_run_id: str, latest: str | None = None) -> None:
        self.config, self.name, self.latest = config, name, latest
        self.champion: Champion | None = None
        self.failure: BaseException | None = None
        self.decision = Decision(
            model=name,
            outcome="failed",
            delta=config.retrain.delta,
            max_psi=config.retrain.max_psi,
            reason="The run ended before the decision.",
            flow_run_id=flow_run_id,
            ended=_now(),
        )

    def begin(self, run: Tracked) -> None:
        """Store the id of the challenge's MLflow run."""
        self.run = run
        self._record(mlflow_run_id=run.run_id)

    def find_champion(self) -> Champion | None:
        """The serving model. None before the first promotion. Raises DataError as ``model_registry.champion`` does."""
        self.champion = champion = model_registry.champion(self.run, self.name)
        if champion is not None:
            self._record(champion_version=champion.version, anchor_versions=dict(champion.anchors))
        return champion

    def decide(
        self, new: StageResult, ranks: StageResult, rank: Rank, prepared: StageResult, drift: StageResult | None = None
    ) -> Verdict:
        """Decide whether the model ``new``, with its test ``ranks``, becomes champion. ``rank`` ranks earlier versions.

        ``prepared`` is the dataset that all models rank; comparisons resample its users.
        """
        champion, tasks = self.champion, data_tasks(prepared.path)
        if champion is None:
            verdict = first_model(tasks)
        elif champion.bundle.key == new.key:
            verdict = unchanged(champion)
        else:
            verdict = self._compare(champion, ranks, rank, ranked_users(prepared), tasks)
        self._record(
            tasks=tasks,
            differences=verdict.differences,
            anchor_differences=verdict.anchor_differences,
            failed_tasks=verdict.failed_tasks,
            drift=None if drift is None else drift.metrics,
            metrics=ranks.metrics,
        )
        if not verdict.register:
            self._record(outcome="kept", reason=verdict.reason)
        return verdict

    def apply(
        self,
        verdict: Verdict,
        model_uri: str,
        new: StageResult,
        catalogue: StageResult | None = None,
        description: str = "",
    ) -> None:
        """Register the new model, move the alias if the verdict promotes it, and tag the version with the outcome.

        ``description`` is the model card without its title (``tasks.promote.card``).

        Raises:
            ChampionMoved: another run, or a person, moved the alias meanwhile; the alias stays where it is.
        """
        version = model_registry.register(
            self.run, self.name, model_uri, new, verdict.anchors, catalogue, self.decision.metrics
        )
        self._record(new_version=version)
        if description:
            set_card(self.run, self.name, version, model_uri, card.titled(description, self.name, version))
        if verdict.promote:
            over = None if self.champion is None else self.champion.version
            model_registry.promote(self.run, self.name, version, over)
        outcome: Outcome = "promoted" if verdict.promote else "kept"
        self._record(outcome=outcome, reason=verdict.reason)
        self.save()  # before the tags, which may fail: the alias has moved
        model_registry.tag_outcome(self.run, self.name, version, outcome, verdict.reason)

    def fail(self, error: BaseException) -> None:
        """Record how the run ended, and save. The outcome stays what the run decided and did."""
        self.failure = error
        message = f"{type(error).__name__}: {error}"
        decided = self.decision.outcome != "failed"
        self._record(reason=f"{self.decision.reason} After that the run failed. {message}" if decided else message)
        self.save()

    def save(self) -> None:
        """Write the record into the run's folder, and let ``latest`` lead to it."""
        save_decision(self.decision, self.latest)

    def _compare(
        self, champion: Champion, ranks: StageResult, rank: Rank, users: pa.Table, tasks: tuple[Task, ...]
    ) -> Verdict:
        """Compare with the champion and, where that passes, with each task's anchor.

        Nothing is ranked twice: the anchor may be the champion, or an earlier version of the same model.
        """
        old = rank(champion.bundle, "")
        self._record(unknown_item_share=old.metrics.get("unknown_item_share", 0.0))
        differences = compare(ranks, old, users, self.config, tuple(champion.anchors))
        anchored: dict[Task, Difference] = {}
        if self.config.retrain.anchor and not below(differences, self.config):
            for task, version in champion.anchors.items():
                if version == champion.version:
                    continue
                anchor = model_registry.version_bundle(self.run, self.name, version)
                if anchor.key == champion.bundle.key:
                    anchored[task] = differences[task]
                else:
                    old = rank(anchor, f"anchor-{version}")
                    anchored |= compare(ranks, old, users, self.config, (task,))
        return non_inferiority(champion, differences, anchored, self.config, tasks)

    def _record(self, **changes: object) -> None:
        self.decision = self.decision.model_copy(update=changes | {"ended": _now()})


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
