"""The record of one promotion: the figures, the rule, and the outcome for the new model.

``python -m tasks.promote.record`` prints the record of the newest retraining.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, ValidationError

from gensr_model.config.base import TASKS, Frozen, Task
from gensr_model.errors import DataError
from gensr_model.runtime.files import write_json
from tasks.core.error_log import run_command
from tasks.core.state_dir import point_latest, run_folder, state_dir
from tasks.core.tracking import Tracked

if TYPE_CHECKING:
    from gensr_model.evaluation.compare import Comparison

DECISION = "decision.json"
LATEST = "latest-retrain"
LATEST_DECISION = "latest-decision"  # the newest record of all, whatever made it
Outcome = Literal["promoted", "kept", "failed"]


class Difference(Frozen):
    """NDCG@10 of the new model minus that of an earlier version, on one task's test samples."""

    mean: float
    low: float = Field(description="lower bound of the bootstrap interval over users")
    high: float
    p: float | None = Field(description="two-sided paired t-test by user; None where it is not defined")
    samples: int
    users: int

    @classmethod
    def from_comparison(cls, compared: Comparison) -> Difference:
        """The figures of a comparison for the record."""
        p = compared.p if compared.p == compared.p else None  # NaN: nothing differs, or all by the same
        return cls(
            mean=compared.mean_difference,
            low=compared.low,
            high=compared.high,
            p=p,
            samples=compared.n,
            users=compared.users,
        )

    def __str__(self) -> str:
        counted = f"{self.samples} samples of {self.users} users"
        return f"{self.mean:+.4f}, interval {self.low:+.4f} to {self.high:+.4f} ({counted})"


class Decision(Frozen):
    """A run's decision about the alias ``champion`` of ``model``, and its outcome."""

    model: str
    outcome: Outcome
    new_version: str | None = Field(None, description="None where no version was registered")
    champion_version: str | None = Field(None, description="before the run; None where there was none")
    anchor_versions: dict[Task, str] = Field({}, description="by task: the last version that was better")
    tasks: tuple[Task, ...] = Field(TASKS, description="those that the data have, on which the new model is trained")
    delta: float | None = Field(description="allowed loss in NDCG@10, on each task; None where a person decided")
    differences: dict[Task, Difference] = Field({}, description="new model − champion")
    anchor_differences: dict[Task, Difference] = Field({}, description="new model − anchor")
    failed_tasks: tuple[Task, ...] = Field((), description="tasks with a lower bound at or below −delta")
    unknown_item_share: float | None = Field(None, description="of test items, unknown to the champion")
    max_psi: float | None = Field(description="above it a feature of the data has drifted; None as above")
    drift: dict[str, float] | None = Field(None, description="PSI by feature; None where it is unknown")
    metrics: dict[str, float] = Field({}, description="of the new model on the test split")
    reason: str
    flow_run_id: str = Field(description="name of the record's folder in runs/: a flow run, or `gensr promote`")
    mlflow_run_id: str | None = Field(None, description="None where MLflow opened no run")
    ended: str = Field(description="UTC, ISO 8601")

    def figures(self) -> dict[str, float]:
        """All numbers of the record by the names that MLflow gets."""
        compared = {"difference": self.differences, "anchor_difference": self.anchor_differences}
        return (
            self.metrics
            | {
                f"{name}/{task}/{field}": float(value)
                for name, differences in compared.items()
                for task, difference in differences.items()
                for field, value in difference.model_dump().items()
                if value is not None
            }
            | {f"drift/{feature}": value for feature, value in (self.drift or {}).items()}
            | ({} if self.unknown_item_share is None else {"champion_unknown_item_share": self.unknown_item_share})
        )

    def lines(self) -> list[str]:
        """The record for a terminal: the outcome first, then its reasons."""
        return [f"{self.model}: {self.outcome}, {self.ended} (run {self.flow_run_id})", *self._details()]

    def markdown(self) -> str:
        """The record for Prefect's artifact."""
        return "\n".join([f"# {self.model}: {self.outcome}", "", *(f"- {line}" for line in self._details())])

    def _details(self) -> Iterator[str]:
        yield f"reason: {self.reason}"
        yield f"versions: new {self.new_version or 'none'}, champion before {self.champion_version or 'none'}"
        if len(self.tasks) < len(TASKS):
            yield f"tasks: {self.tasks[0]} alone, as the data have no sample of the other"
        for name, differences in (("champion", self.differences), ("anchor", self.anchor_differences)):
            for task, difference in differences.items():
                version = self.champion_version if name == "champion" else self.anchor_versions[task]
                least = -(self.delta or 0.0)
                verdict = "passes" if difference.low > least else "fails"
                yield (
                    f"{task}, NDCG@10, new − {name} (version {version}): {difference}; {verdict}, "
                    f"{least:+.4f} is allowed"
                )
        if self.differences and self.max_psi is not None:
            from tasks.validate.drift import drift_sentence  # Great Expectations: seconds

            yield drift_sentence(self.drift, self.max_psi)


def save_decision(decision: Decision, latest: str | None) -> None:
    """Write ``decision.json`` into the run's folder. ``runs/latest-decision`` and ``runs/<latest>`` lead to it."""
    folder = state_dir().runs / decision.flow_run_id
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / DECISION, decision.model_dump(mode="json"), sort_keys=False)
    for name in filter(None, (LATEST_DECISION, latest)):
        point_latest(decision.flow_run_id, name)


def log_decision(decision: Decision) -> None:
    """Log a saved decision to its MLflow run, if any: the file, the figures and two tags."""
    if decision.mlflow_run_id is not None:
        run = Tracked.existing(decision.mlflow_run_id)
        run.artifacts(state_dir().runs / decision.flow_run_id, (DECISION,))
        run.metrics(decision.figures())
        run.tags(outcome=decision.outcome, decision=decision.reason)


def read_decision(path: Path) -> Decision:
    """Read the record in a file. Raises DataError where there is none, or where this version cannot read it."""
    try:
        return Decision.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(
            f"{path}: there is no record of a retraining. Start one: prefect deployment run retrain/nightly."
        ) from error
    except ValidationError as error:
        raise DataError(
            f"{path}: this version cannot read the record ({error.errors()[0]['msg']}). Retrain once more."
        ) from error


def main(arguments: list[str] | None = None) -> int:
    """Print the record of the newest retraining, or of a flow run."""
    parser = argparse.ArgumentParser(
        prog="python -m tasks.promote.record", description="Why was the newest model promoted, or not?"
    )
    parser.add_argument("run", nargs="?", default=LATEST, help="a folder in runs/; without it the newest retraining")
    run: str = parser.parse_args(arguments).run

    def show() -> int:
        print("\n".join(read_decision(run_folder(state_dir().runs / run) / DECISION).lines()))
        return 0

    return run_command("record", show)


if __name__ == "__main__":
    sys.exit(main())
