"""Mutual information between a model's input, its answer and the label (§6.4.1, Table 5), in nats.

The answer is drawn as Ŷ ~ Bernoulli(p(input)), p = σ(score), with p known for every input. So the answer's information
about the whole input is known exactly: H(E p) − E H(p), never more than H(E p) ≤ ln 2. MINE sees only pooled features X
of the input, so by the data-processing inequality its true target is at most the exact value. An estimate well above
the exact value is wrong. The paper's Table 5 (.85 to .94) can only be in bits: a yes-or-no answer has at most one bit,
.693 nats.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from scipy import stats

from gensr_model.analysis.critics import CriticConfig, Draw, Estimate, estimate, fixed
from gensr_model.analysis.jackknife import nothing, pseudo_values
from gensr_model.errors import DataError

_RESAMPLES = 2_000
_AT_ONCE = 200  # resamples: (200, N) weights at a time
_ALPHA = 0.01  # below this p, answers depend on the label
_ANSWER_DRAWS = 16  # draws of every held-out sample for the estimates, and of every sample for the counts


class TaskInformation(NamedTuple):
    """The information in one task's answers, in nats. Fields that end in ``_bits`` are in bits.

    The fields are I(X; Ŷ) by three estimators, its exact value for the whole input, the entropy as the upper limit of
    all, and I(Ŷ; Y) by counts. A further field is MINE on the raw score. A continuous score that is a function of the
    input has no finite information, so this field measures the critic, not the model.
    """

    mine_nats: float
    mine_std: float
    infonce_nats: float
    infonce_std: float
    smile_nats: float
    smile_std: float
    exact_nats: float
    bound_nats: float
    label_nats: float
    raw_score_nats: float
    mine_bits: float
    exact_bits: float
    label_bits: float


class Gap(NamedTuple):
    """Difference in information between two models' answers, in nats, with bootstrap interval and test."""

    difference: float
    low: float
    high: float
    p: float  # paired two-sided t-test; NaN where none is valid


def nats_to_bits(nats: float) -> float:
    """The same information in bits."""
    return nats / math.log(2)


def bernoulli_entropy(p: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """H(p) in nats of each probability, in any shape. 0 at 0 and at 1."""
    p = np.asarray(p, np.float64)
    inside = np.clip(p, np.finfo(np.float64).tiny, 1.0)
    outside = np.clip(1.0 - p, np.finfo(np.float64).tiny, 1.0)
    return -(p * np.log(inside) + (1.0 - p) * np.log(outside))


def bernoulli_information(p: npt.NDArray[np.floating]) -> float:
    """Exact I(input; Ŷ) = H(E p) − E H(p) in nats for Ŷ ~ Bernoulli(p), over (N,) equally likely inputs.

    Raises DataError for a value that is no probability.
    """
    p = np.asarray(p, np.float64)
    if p.size == 0 or not ((p >= 0) & (p <= 1)).all():
        raise DataError("answer probabilities are empty or out of range. Give a non-empty array of values from 0 to 1.")
    return float(bernoulli_entropy(p.mean()) - bernoulli_entropy(p).mean())


def plug_in_information(a: npt.NDArray[np.integer], b: npt.NDArray[np.integer]) -> float:
    """I(A; B) in nats of two discrete variables (N,), from their joint counts.

    The value is never negative. For independent variables with k and l values it is about (k − 1)(l − 1) / 2N too
    large.
    """
    if a.shape != b.shape or a.ndim != 1 or not len(a):
        raise DataError(f"the columns have the shapes {a.shape} and {b.shape}. Give two columns of one length.")
    (rows, row), (columns, column) = (np.unique(side, return_inverse=True) for side in (a, b))
    count = np.bincount(row * len(columns) + column, minlength=len(rows) * len(columns))
    joint = count.reshape(len(rows), len(columns)) / len(a)
    independent = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    seen = joint > 0
    return float((joint[seen] * np.log(joint[seen] / independent[seen])).sum())


def information_gaps(
    ours: npt.NDArray[np.floating],
    theirs: npt.NDArray[np.floating],
    label: npt.NDArray[np.integer],
    confidence: float = 0.95,
    seed: int = 0,
    resamples: int = _RESAMPLES,
) -> dict[str, Gap]:
    """Our answers' information minus theirs, with the input (``exact``) and with the label (``label``).

    Both are exact over the answers, where `TaskInformation.label_nats` counts drawn ones. The intervals are percentiles
    over resamples of the samples, one per user, and both models share the resamples. Information is no mean over
    samples, so the t-test is that of its jackknife pseudo-values, paired by sample. For I(Ŷ; Y) the test is valid only
    where one model's answers depend on the label: p is NaN where neither model's answers differ from chance.

    Args:
        ours, theirs: scores (N,); answers are drawn with probability σ(score).
        label: (N,) of 0 and 1.
    """
    sides = [_terms(score, label) for score in (ours, theirs)]
    n = len(label)
    point = _information(sides[0].mean(axis=0)) - _information(sides[1].mean(axis=0))
    pseudo = pseudo_values(sides[0], _information) - pseudo_values(sides[1], _information)
    p = [_t_test(pseudo[:, 0]), _t_test(pseudo[:, 1])]
    if not any(_knows(side) for side in sides):
        p[1] = float("nan")
    rng = np.random.default_rng(seed)
    drawn = []
    for start in range(0, resamples, _AT_ONCE):
        size = min(_AT_ONCE, resamples - start)
        weights = rng.multinomial(n, np.full(n, 1 / n), size=size).astype(np.float64)
        drawn.append(_information(weights @ sides[0] / n) - _information(weights @ sides[1] / n))
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.concatenate(drawn), [tail, 1 - tail], axis=0)
    return {
        name: Gap(float(point[i]), float(low[i]), float(high[i]), p[i]) for i, name in enumerate(("exact", "label"))
    }


def _t_test(differences: npt.NDArray[np.float64]) -> float:
    """p for a mean of 0. It is 1 where nothing differs."""
    return 1.0 if nothing(differences) else float(stats.ttest_1samp(differences, 0.0).pvalue)


def _knows(terms: npt.NDArray[np.float64]) -> bool:
    """Whether answers differ between labels by more than chance, by Welch's t-test of p.

    Where they do not, I(Ŷ; Y) is at its flat minimum, and no t-test of it is valid.
    """
    positive = terms[:, 3] > 0
    if min(positive.sum(), (~positive).sum()) < 2 or not np.ptp(terms[:, 0]):
        return False
    return bool(stats.ttest_ind(terms[positive, 0], terms[~positive, 0], equal_var=False).pvalue < _ALPHA)


def _terms(score: npt.NDArray[np.floating], label: npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
    """(N, 4): p, H(p), p of positives, positives. ``_information`` needs only means of these."""
    p = _probability(score)
    return np.stack([p, bernoulli_entropy(p), p * label, np.asarray(label, np.float64)], axis=1)


def _information(means: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(…, 2): I(input; Ŷ) and I(Ŷ; Y) in nats, from the means (…, 4) of the samples' terms."""
    p, entropy, p_positive, positive = np.moveaxis(means, -1, 0)
    given = _entropy_of(p_positive, positive) + _entropy_of(p - p_positive, 1 - positive)
    answer = bernoulli_entropy(p)
    return np.stack([answer - entropy, answer - given], axis=-1)


def _entropy_of(yes: npt.NDArray[np.float64], share: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """H of the answers to one label, weighted by the label's share. 0 where no sample has the label."""
    among = np.divide(yes, share, out=np.zeros_like(yes), where=share > 0)
    return np.asarray(share * bernoulli_entropy(np.clip(among, 0, 1)))


def _probability(score: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """σ without overflow."""
    return np.exp(-np.logaddexp(0.0, -np.asarray(score, np.float64)))


def draw_answers(probability: npt.NDArray[np.floating]) -> Draw:
    """Answers −1 for No and 1 for Yes, drawn anew at each use of a sample.

    New draws follow the joint distribution, and no critic can memorise one draw.
    """
    p = torch.from_numpy(np.asarray(probability, np.float32))
    return lambda rows, generator: (torch.rand(len(rows), generator=generator) < p[rows]).float().unsqueeze(1) * 2 - 1


def estimate_task_information(
    x: npt.NDArray[np.floating],
    score: npt.NDArray[np.floating],
    label: npt.NDArray[np.integer],
    *,
    blocks: Sequence[int] | None = None,
    config: CriticConfig = CriticConfig(),  # noqa: B008  # immutable
    seed: int = 0,
) -> TaskInformation:
    """I(X; Ŷ) for features `x` (N, D) and answers drawn with σ(`score`), and I(Ŷ; Y) for the labels.

    `score` is (N,), and `label` (N,) holds 0 and 1. `blocks` as in `critics.standardise`. Raises DataError for
    impossible shapes or values.
    """
    score = np.asarray(score, np.float64)
    p = _probability(score)
    exact = bernoulli_information(p)
    features = torch.from_numpy(np.asarray(x, np.float32))

    def by(name: str, draw: Draw, repeats: int, how: CriticConfig = config) -> Estimate:
        return estimate(name, features, draw, blocks=blocks, config=how, seed=seed, repeats=repeats)

    mine, infonce, smile = (by(name, draw_answers(p), _ANSWER_DRAWS) for name in ("mine", "infonce", "smile"))
    raw = by("mine", fixed(torch.from_numpy(score).float().unsqueeze(1)), 1, config._replace(seeds=1))
    rng = np.random.default_rng(seed)
    answers = (rng.random((_ANSWER_DRAWS, len(p))) < p).astype(np.int64)
    label_nats = plug_in_information(answers.ravel(), np.tile(label, _ANSWER_DRAWS))
    return TaskInformation(
        mine_nats=mine.nats, mine_std=mine.std,
        infonce_nats=infonce.nats, infonce_std=infonce.std,
        smile_nats=smile.nats, smile_std=smile.std,
        exact_nats=exact, bound_nats=float(bernoulli_entropy(p.mean())),
        label_nats=label_nats, raw_score_nats=raw.nats,
        mine_bits=nats_to_bits(mine.nats), exact_bits=nats_to_bits(exact), label_bits=nats_to_bits(label_nats),
    )  # fmt: skip
