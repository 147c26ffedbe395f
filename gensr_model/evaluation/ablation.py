"""What each part of GenSR contributes (§6.6): the variants, and their relative change with an interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gensr_model.config.base import TASKS
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.config.variants import VARIANTS
from gensr_model.errors import DataError
from gensr_model.evaluation.compare import add_holm, paired_p
from gensr_model.evaluation.metrics import of_task, per_sample
from gensr_model.evaluation.resampling import FloatArray, number_users, resampled_means

METRIC = "ndcg_at_5"  # the only metric of §6.6


class Change(NamedTuple):
    """A metric of a variant relative to the whole model's, over the same n samples. Seeds are averaged per sample."""

    base: float
    value: float
    change: float  # (value − base) / base
    low: float  # bounds of the paired percentile bootstrap interval of ``change``
    high: float
    n: int
    users: int  # number of users of the n samples


def ablation_rows(
    ranks: Mapping[str, Sequence[pa.Table]], config: PipelineConfig, users: pa.Table | None
) -> list[dict[str, Any]]:
    """One row per task and variant: `changes` from the whole model, and the paper's figure.

    Args:
        ranks: test ranks of every variant, one table per seed, in the order of the seeds; includes ``gensr``.
        users: as in `relative_change`.
    """
    rows = changes(ranks, "gensr", config, users)
    return [row | {"paper": VARIANTS[row["variant"]].paper.get(row["task"])} for row in rows]


def changes(
    ranks: Mapping[Any, Sequence[pa.Table]], base: object, config: PipelineConfig, users: pa.Table | None
) -> list[dict[str, Any]]:
    """One row per task and model ("variant"): NDCG@5, its spread over seeds, and its change relative to ``base``.

    ``p`` is that of the paired t-test by user. ``p_holm`` is ``p`` after Holm's correction over all models and both
    tasks. Both are None where a test is not defined. A task without ranks of either model has no row.

    Args:
        ranks: ranks of every model, one table per seed, in the order of the seeds; includes ``base``.
        users: as in `relative_change`.
    """
    rows = []
    for task in TASKS:
        whole = [of_task(table, task) for table in ranks[base]]
        for variant, tables in ranks.items():
            changed = [of_task(table, task) for table in tables]
            if not (changed[0].num_rows and whole[0].num_rows):
                continue
            rule = config.statistics
            relative = relative_change(
                changed, whole, METRIC, rule.bootstrap_samples, rule.confidence, config.seed, users=users
            )
            each = [float(per_sample(table, METRIC).mean()) for table in changed]
            rows.append(
                {
                    "task": task,
                    "variant": variant,
                    "seeds": len(each),
                    **relative._asdict(),
                    "std_over_seeds": float(np.std(each, ddof=1)) if len(each) > 1 else None,
                    "p": None if variant == base else paired_p(changed, whole, METRIC, users=users),
                }
            )
    add_holm(rows, "p")
    defined = [{name: value for name, value in row.items() if value == value} for row in rows]  # no NaN
    return [{"p_holm": None} | row | {"p": row.get("p")} for row in defined]


def relative_change(
    variant: Sequence[pa.Table],
    base: Sequence[pa.Table],
    metric: str,
    samples: int = 2_000,
    confidence: float = 0.95,
    seed: int = 0,
    *,
    users: pa.Table | None,
) -> Change:
    """Relative difference of a variant's mean from the base's. Tables are matched by sample_id.

    A resample draws the same users for both models, each with all of the user's samples, and divides by its own base.
    The interval covers the choice of test users, not the choice of seeds.

    Args:
        users: ``sample_id`` and ``user_idx`` of the prepared samples; None where every sample has another user.

    Raises:
        DataError: the tables rank different samples, or none; the base is 0 throughout or in every resample; or a
            sample has no user.
    """
    ids = np.sort(np.asarray(base[0]["sample_id"].to_pylist(), dtype=str))
    ours, theirs = (np.mean([_values(table, ids, metric) for table in tables], axis=0) for tables in (variant, base))
    if len(ids) == 0 or theirs.mean() == 0:
        raise DataError(
            f"the base has {metric} 0 on every sample, so no relative change is defined. Compare with a "
            "base that ranks some positives."
        )
    value, reference = float(ours.mean()), float(theirs.mean())
    user = number_users(ids, users)
    several = int(user.max()) + 1
    low, high = -1.0, 1.0 / reference - 1.0  # the widest range of a metric up to 1, because one user gives no interval
    if several > 1:
        means = resampled_means(np.stack([ours, theirs]), user, samples, np.random.default_rng(seed))
        drawn = means[:, means[1] > 0]  # a resample whose base is 0 has no ratio
        if not drawn.size:
            raise DataError(
                f"the base has {metric} 0 in each of {samples} resamples, so no relative change is "
                "defined. Compare with a base that ranks some positives."
            )
        tail = (1.0 - confidence) / 2.0
        low, high = map(float, np.quantile(drawn[0] / drawn[1] - 1, [tail, 1.0 - tail]))
    return Change(reference, value, value / reference - 1, low, high, len(ids), several)


def _values(ranks: pa.Table, ids: npt.NDArray[Any], metric: str) -> FloatArray:
    """(n,) the metric of the samples ``ids``, which are sorted."""
    ranked = np.asarray(ranks["sample_id"].to_pylist(), dtype=str)
    order = np.argsort(ranked)
    if not np.array_equal(ranked[order], ids):
        raise DataError(
            f"a variant ranked {len(ranked)} samples, not the {len(ids)} of the whole model. Rank both on one split."
        )
    return per_sample(ranks, metric)[order]
