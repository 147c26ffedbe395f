"""May the new model become the champion? A non-inferiority test on the same samples, task by task."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import pyarrow as pa

from gensr_model.config.base import SEARCH_ONLY, TASKS
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.errors import ConfigError, DataError
from gensr_model.evaluation.compare import Comparison, paired_bootstrap
from tasks.core.stage import StageResult
from tasks.evaluate.rank import read_ranks
from tasks.evaluate.run_data import ranked_users
from tasks.promote.model_registry import Champion, serving_code
from tasks.validate.drift import drift_says


class Decision(NamedTuple):
    """What becomes of the alias, and why in one sentence."""

    promote: bool
    new_version: bool  # False where the new model is the champion
    says: str
    metrics: dict[str, float]

    def with_drift(self, drift: StageResult | None, config: PipelineConfig) -> Decision:
        """The same, with what is known of the data's drift since the champion's."""
        found = None if drift is None else drift.metrics
        says = f"{self.says} {drift_says(found, config.retrain.max_psi)}"
        return self._replace(
            says=says, metrics=self.metrics | {f"drift/{k}": v for k, v in (found or {}).items()}
        )


def require_both_tasks(config: PipelineConfig) -> None:
    """ConfigError, before hours of training, for a protocol on which no model can be judged on both tasks."""
    if config.train.tasks != "both":
        raise ConfigError(
            f"train.tasks is {config.train.tasks!r}, but a champion is challenged on both tasks: retrain with both"
        )
    if config.evaluation.protocol in SEARCH_ONLY:
        raise ConfigError(
            f"evaluation.protocol is {config.evaluation.protocol!r}, which draws candidates for search only, but a "
            "champion is challenged on both tasks: retrain with uniform or popularity"
        )


def decide_promotion(
    new: StageResult,
    ranks: StageResult,
    champion: Champion | None,
    rank: Callable[[StageResult], StageResult],
    prepared: StageResult,
    config: PipelineConfig,
) -> Decision:
    """May the model ``new``, with its test ``ranks``, become champion? ``rank`` evaluates the present one's bundle.

    ``prepared`` is the dataset that both rank; its users are resampled.
    """
    if champion is None:
        return first(ranks)
    if champion.bundle.key == new.key:
        return unchanged(champion, ranks)
    return decide(ranks, rank(champion.bundle), champion.version, ranked_users(prepared), config)


def first(ranks: StageResult) -> Decision:
    """No champion yet."""
    return Decision(
        True, True, "Promoted: this is the first model, there is no champion to compare with.", ranks.metrics
    )


def unchanged(champion: Champion, ranks: StageResult) -> Decision:
    """Trained on the same data with the same config and code as the champion: only the code that serves may differ."""
    version = champion.version
    if champion.code != serving_code():
        says = f"Renewed champion version {version}: the same model, with the code of today that answers requests."
        return Decision(True, True, says, ranks.metrics)
    says = f"Kept champion version {version}: nothing has changed since it was trained, this model is the champion."
    return Decision(False, False, says, ranks.metrics)


def decide(
    new: StageResult, champion: StageResult, version: str, users: pa.Table, config: PipelineConfig
) -> Decision:
    """Compare on the new test candidates: promote if the lower bound of NDCG@10 is above −δ on both tasks."""
    rule = config.retrain
    ours, theirs = read_ranks(new), read_ranks(champion)
    found: dict[str, Comparison] = {}
    for task in TASKS:
        if not new.metrics.get(f"{task}/samples"):
            raise DataError(
                f"the test split has no {task} sample, so the champion cannot be challenged on both tasks"
            )
        found[task] = paired_bootstrap(
            ours,
            theirs,
            samples=config.statistics.bootstrap_samples,
            confidence=config.statistics.confidence,
            seed=config.seed,
            task=task,
            users=users,
        )
    promote = all(c.low > -rule.delta for c in found.values())  # never by a single user: then low is −1
    unknown = champion.metrics.get("unknown_item_share", 0.0)
    bounds = "; ".join(
        f"{task} {c.mean_difference:+.4f}, lower bound {c.low:+.4f} (n = {c.n}, {c.users} users)"
        for task, c in found.items()
    )
    verdict = f"Promoted over champion version {version}" if promote else f"Kept champion version {version}"
    says = (
        f"{verdict}: NDCG@10, new − champion: {bounds}; a lower bound above {-rule.delta:+.4f} is needed on both "
        f"tasks. Items unknown to the champion: {unknown:.1%}."
    )
    metrics = {
        f"difference/{task}/{k}": float(v)
        for task, c in found.items()
        for k, v in c._asdict().items()
        if math.isfinite(v)  # no t-test where nothing differs but by the same
    }
    return Decision(promote, True, says, new.metrics | metrics | {"champion_unknown_item_share": unknown})
