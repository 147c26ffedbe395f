"""Figure 4 on trained models: the probes that training left, in numbers and figures (§6.5)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from gensr_model.analysis.figures import gradient_figure, validation_figure
from gensr_model.analysis.jackknife import pseudo_values
from gensr_model.analysis.subjects import OURS
from gensr_model.evaluation.compare import add_holm
from gensr_model.runtime.files import write_json
from gensr_model.training.gradient_probe import GradientCosine

_RESAMPLES = 2_000
_FEWEST = 20  # probes
_ERRORS = 3  # standard errors that a null must be above 0
_LEAST = 1e-3  # of a null in a resample, which could divide by 0 otherwise


def analyze_gradients(
    bundles: Mapping[str, Path], out: Path, confidence: float = 0.95, seed: int = 0
) -> dict[str, float]:
    """Summarise the gradient probes of each trained bundle, by name; returns ``gradient/model/name``.

    The numbers are those of ``conflict_summary`` and ``noise_free``. Writes ``gradient_conflict.json`` and the figure
    ``validation.png`` into `out`, and ``gradient_cosine.png`` where a model was probed.
    """
    probes = {model: _read(folder, "gradients.json") for model, folder in bundles.items()}
    probes = {model: rows for model, rows in probes.items() if rows}
    summary = {model: conflict_summary(rows) for model, rows in probes.items()}
    for model, cosines in noise_free(probes, confidence, seed).items():
        summary[model] |= cosines
    write_json(out / "gradient_conflict.json", summary)
    if probes:
        gradient_figure(probes, out / "gradient_cosine.png")
    curves = {model: _read(folder, "training.json")["validations"] for model, folder in bundles.items()}
    validation_figure(curves, out / "validation.png")
    return {f"gradient/{model}/{name}": value for model, values in summary.items() for name, value in values.items()}


def conflict_summary(probes: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Over the probes along training: of the tasks' cosine mean, spread, smallest value and share below zero; the same
    on halves, of the null, and how far the tasks are below it; mean norms.

    ``gap`` is the mean of (tasks on halves − mean null of both tasks), ``gap_error`` its standard error, as if probes
    were independent.
    """
    columns = {name: np.array([probe[name] for probe in probes]) for name in GradientCosine._fields}
    cosine, halves = columns["cosine"], columns["cosine_halves"]
    null = (columns["null_recommendation"] + columns["null_search"]) / 2
    gap = halves - null
    return {
        "mean_cosine": float(cosine.mean()),
        "std_cosine": float(cosine.std()),
        "min_cosine": float(cosine.min()),
        "share_negative": float((cosine < 0).mean()),
        "mean_halves": float(halves.mean()),
        "share_negative_halves": float((halves < 0).mean()),
        "mean_null": float(null.mean()),
        "share_negative_null": float((null < 0).mean()),
        "gap": float(gap.mean()),
        "gap_error": float(gap.std(ddof=1) / len(gap) ** 0.5) if len(gap) > 1 else 0.0,
        "mean_norm_recommendation": float(columns["norm_recommendation"].mean()),
        "mean_norm_search": float(columns["norm_search"].mean()),
        "probes": float(len(cosine)),
    }


def noise_free(
    probes: Mapping[str, Sequence[Mapping[str, float]]], confidence: float = 0.95, seed: int = 0
) -> dict[str, dict[str, float]]:
    """The tasks' cosine less what noise takes from it, of each model, and GenSR's less each other's.

    Halves of a batch have noisy gradients, so the cosine of the tasks and that of one task with itself are small alike,
    and the smaller the batch the more so: models probed on batches of other sizes cannot be compared by them. Divided
    by √(null of recommendation × null of search), means over the probes, it is that of the gradients themselves
    (Spearman 1904, correction for attenuation): 1 where the tasks pull alike, 0 at right angles, below 0 in conflict.

    Returns of a model ``free`` with ``free_low`` and ``free_high``, and beside GenSR ``less``, ``less_low``,
    ``less_high``, ``less_p`` and, corrected for all models, ``less_p_holm``. Intervals are of a bootstrap of the
    probes, p is Welch's (1947) of jackknife pseudo-values; both take probes as independent. A model is left out where
    a null is not significantly above 0: its gradients are noise only.
    """
    terms = {model: _terms(rows) for model, rows in probes.items()}
    terms = {model: rows for model, rows in terms.items() if _is_above_noise(rows)}
    tail = (1 - confidence) / 2
    cosines: dict[str, dict[str, float]] = {}
    for model, rows in terms.items():
        drawn = _resampled(rows, seed)
        cosines[model] = _with_ends("free", float(_free(rows.mean(axis=0))), drawn, tail)
        if model == OURS or OURS not in terms:
            continue
        # Other draws than this model's, as the two were probed apart.
        less = _resampled(terms[OURS], seed + 1) - drawn
        value = float(_free(terms[OURS].mean(axis=0)) - cosines[model]["free"])
        cosines[model] |= _with_ends("less", value, less, tail)
        sides = [pseudo_values(side, _free) for side in (terms[OURS], rows)]
        cosines[model]["less_p"] = float(stats.ttest_ind(*sides, equal_var=False).pvalue)
    add_holm(cosines.values(), "less_p")
    return cosines


def _terms(probes: Sequence[Mapping[str, float]]) -> npt.NDArray[np.float64]:
    """(probes, 3): cosine of the tasks' halves, and of one task's."""
    names = ("cosine_halves", "null_recommendation", "null_search")
    return np.array([[probe[name] for name in names] for probe in probes]).reshape(-1, len(names))


def _is_above_noise(terms: npt.NDArray[np.float64]) -> bool:
    """Whether both nulls are above 0 by more than chance."""
    if len(terms) < _FEWEST:
        return False
    error = terms.std(axis=0, ddof=1) / len(terms) ** 0.5
    return bool((terms.mean(axis=0) > _ERRORS * error)[1:].all() and (error > 0).all())


def _free(means: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Of means (…, 3) as in ``_terms``; a resample's null counts as ``_LEAST`` where it is below."""
    halves, recommendation, search = np.moveaxis(means, -1, 0)
    return np.asarray(halves / np.sqrt(np.maximum(recommendation, _LEAST) * np.maximum(search, _LEAST)))


def _resampled(terms: npt.NDArray[np.float64], seed: int) -> npt.NDArray[np.float64]:
    rows = np.random.default_rng(seed).integers(len(terms), size=(_RESAMPLES, len(terms)))
    return _free(terms[rows].mean(axis=1))


def _with_ends(name: str, value: float, drawn: npt.NDArray[np.float64], tail: float) -> dict[str, float]:
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return {name: value, f"{name}_low": float(low), f"{name}_high": float(high)}


def _read(folder: Path, name: str) -> Any:
    return json.loads((folder / name).read_text(encoding="utf-8"))
