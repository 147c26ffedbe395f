"""The promotion rule: a non-inferiority test on the same samples, task by task."""

from __future__ import annotations

from dataclasses import dataclass, field

import pyarrow as pa

from gensr_model.config.base import SEARCH_ONLY, Task
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.errors import ConfigError, DataError
from gensr_model.evaluation.compare import paired_bootstrap
from tasks.core.stage import StageResult
from tasks.evaluate.rank import read_ranks
from tasks.promote.model_registry import Champion, serving_code
from tasks.promote.record import Difference

Differences = dict[Task, Difference]


@dataclass(frozen=True)
class Verdict:
    """The rule's answer for a new model, before any change."""

    promote: bool
    reason: str
    register: bool = True  # False where the new model is the champion
    differences: Differences = field(default_factory=dict)
    anchor_differences: Differences = field(default_factory=dict)
    failed_tasks: tuple[Task, ...] = ()
    anchors: dict[Task, str | None] = field(
        default_factory=dict
    )  # versions that its followers are held to; None: itself


def require_tasks(
    config: PipelineConfig, tasks: tuple[Task, ...], champion: Champion | None, unranked: tuple[Task, ...] = ()
) -> None:
    """Refuse, before hours of training, a comparison that no rule could decide. ``tasks`` are those of the data.

    ``unranked`` are the tasks without candidates (``run_data.unranked_tasks``).

    Raises ConfigError where the config leaves out one of them, and DataError where the champion serves a further task.
    """
    here = f"the data have {' and '.join(tasks)}, and a champion is challenged on all that they have"
    if not set(tasks) <= set(config.train.trained_tasks):
        raise ConfigError(f"train.tasks is {config.train.tasks!r}, but {here}: retrain with both")
    if config.evaluation.protocol in SEARCH_ONLY and tasks != ("search",):
        raise ConfigError(
            f"evaluation.protocol is {config.evaluation.protocol!r}, which draws candidates for search only, but "
            f"{here}: retrain with uniform or popularity"
        )
    if unranked:
        raise ConfigError(
            f"evaluation.protocol is {config.evaluation.protocol!r}, but nothing says what was shown in "
            f"{' and '.join(unranked)}, and {here}: retrain with uniform or popularity"
        )
    if lost := [task for task in champion.anchors if task not in tasks] if champion else []:
        raise DataError(
            f"the data have no sample of {lost[0]}, which champion version {champion.version if champion else ''} "
            "serves: it stays. Bring events of that task, or delete the alias champion, and the next model is the first"
        )


def first_model(tasks: tuple[Task, ...]) -> Verdict:
    """The verdict where nothing serves yet."""
    reason = "This is the first model: there is no champion to compare with."
    return Verdict(True, reason, anchors=dict.fromkeys(tasks))


def unchanged(champion: Champion) -> Verdict:
    """The verdict where data, config and training code equal the champion's. Only the serving code may differ."""
    if champion.code == serving_code():
        reason = f"Nothing has changed since champion version {champion.version} was trained: this model is it."
        return Verdict(False, reason, register=False)
    reason = f"Champion version {champion.version}, renewed: the same model with today's code that answers requests."
    return Verdict(True, reason, anchors=dict(champion.anchors))


def non_inferiority(
    champion: Champion,
    differences: Differences,
    anchored: Differences,
    config: PipelineConfig,
    tasks: tuple[Task, ...],
) -> Verdict:
    """The verdict from the differences to the champion and, by task, to another version that is the anchor.

    - Against the champion, the lower bound of NDCG@10 is above −δ on each task that the champion serves.
    - Against a task's anchor, the lower bound is above −δ on that task.
    - A task of ``tasks``, those of the data, that the champion does not serve decides nothing. The new model is its
      anchor.

    The anchor is the last version that was better on the task: its lower bounds against its champion and its anchor
    were above 0. The first champion is the first anchor. So allowed losses do not add up night by night. An anchor
    without a comparison (``retrain.anchor`` is off, or the champion stays anyway) stays.
    """
    version, limit = champion.version, f"{-config.retrain.delta:+.4f}"
    worse, below_anchor = below(differences, config), below(anchored, config)
    if worse:
        shortfall = _shortfall(worse, differences, "champion")
        reason = f"Champion version {version} stays: {shortfall}; above {limit} is needed."
    elif below_anchor:
        shortfall = _shortfall(below_anchor, anchored, "anchor")
        reason = f"Champion version {version} stays: {shortfall}; above {limit} is needed, or losses add up."
    else:
        reason = f"Not worse than champion version {version}: each lower bound of NDCG@10 is above {limit}."
    if gained := [task for task in tasks if task not in champion.anchors]:
        reason += f" The champion does not serve {gained[0]}, so nothing is compared there."
    to_anchor = {t: each for t, each in differences.items() if champion.anchors[t] == version} | anchored
    better = {t: each.low > 0 and t in to_anchor and to_anchor[t].low > 0 for t, each in differences.items()}
    return Verdict(
        promote=not (worse or below_anchor),
        reason=reason,
        differences=differences,
        anchor_differences=anchored,
        failed_tasks=worse or below_anchor,
        anchors={task: None if better.get(task, True) else champion.anchors[task] for task in tasks},
    )


def below(differences: Differences, config: PipelineConfig) -> tuple[Task, ...]:
    """The tasks whose lower bound is not above −δ. A single user never passes, because the bound is then −1."""
    return tuple(task for task, each in differences.items() if each.low <= -config.retrain.delta)


def compare(
    new: StageResult, old: StageResult, users: pa.Table, config: PipelineConfig, tasks: tuple[Task, ...]
) -> Differences:
    """NDCG@10 of ``new`` minus ``old`` by task, from their test ranks.

    Raises DataError for a task without samples.
    """
    for task in tasks:
        if not new.metrics.get(f"{task}/samples"):
            raise DataError(f"the test split has no {task} sample, so the champion cannot be challenged on it")
    new_ranks, old_ranks = read_ranks(new), read_ranks(old)
    return {
        task: Difference.from_comparison(
            paired_bootstrap(
                new_ranks,
                old_ranks,
                samples=config.statistics.bootstrap_samples,
                confidence=config.statistics.confidence,
                seed=config.seed,
                task=task,
                users=users,
            )
        )
        for task in tasks
    }


def _shortfall(tasks: tuple[Task, ...], differences: Differences, opponent: str) -> str:
    bounds = ", ".join(f"{task} {differences[task].low:+.4f}" for task in tasks)
    return f"the lower bound of NDCG@10, new − {opponent}, is {bounds}"
