"""Figure 4 on trained models: the gradient probes of their training, as numbers and figures (§6.5)."""

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
_ERRORS = 3  # a null must be this many standard errors above 0
_LEAST = 1e-3  # smallest null of a resample, to avoid division by 0


def analyze_gradients(
    bundles: Mapping[str, Path], out: Path, confidence: float = 0.95, seed: int = 0
) -> dict[str, float]:
    """Summarise the gradient probes of each trained bundle, by name. Returns ``gradient/model/name``.

    The numbers are those of ``conflict_summary`` and ``noise_free``. The function writes ``gradient_conflict.json`` and
    ``validation.png`` into `out`, and ``gradient_cosine.png`` where a model has probes.
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
    """Summary of the probes: mean, spread, minimum and share below zero of the tasks' cosine.

    The summary also has the cosine on halves, the null, how far the tasks are below the null, and mean norms. ``gap``
    is the mean of (tasks on halves − mean null of both tasks). ``gap_error`` is its standard error, as if probes were
    independent.
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
    """Noise-corrected cosine of each model's tasks, and GenSR's minus each other model's.

    The cosine is the between-task cosine divided by √(null of recommendation × null of search), each on half batches
    and averaged over the probes (Spearman 1904, correction for attenuation). 1 means that the tasks pull alike, 0 that
    they are orthogonal, and below 0 that they conflict. Without the correction, gradients of half batches are noisy, so
    that the cosine of the tasks and that of one task with itself are both small. They are smaller for smaller batches,
    so models with other batch sizes could not be compared.

    Returns:
        Per model ``free`` with ``free_low`` and ``free_high``, and with GenSR ``less``, ``less_low``, ``less_high``,
          ``less_p`` and, corrected for all models, ``less_p_holm``. Intervals are from a bootstrap of the probes; p is
          Welch's (1947) of jackknife pseudo-values. Both treat probes as independent. A model is left out where a null
          is not significantly above 0: its gradients are only noise.
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
        # Draws differ from this model's, because the two models have separate probes.
        less = _resampled(terms[OURS], seed + 1) - drawn
        value = float(_free(terms[OURS].mean(axis=0)) - cosines[model]["free"])
        cosines[model] |= _with_ends("less", value, less, tail)
        sides = [pseudo_values(side, _free) for side in (terms[OURS], rows)]
        cosines[model]["less_p"] = float(stats.ttest_ind(*sides, equal_var=False).pvalue)
    add_holm(cosines.values(), "less_p")
    return cosines


def _terms(probes: Sequence[Mapping[str, float]]) -> npt.NDArray[np.float64]:
    """(probes, 3): the cosine of the tasks' halves, and each task's cosine with itself."""
    names = ("cosine_halves", "null_recommendation", "null_search")
    return np.array([[probe[name] for name in names] for probe in probes]).reshape(-1, len(names))


def _is_above_noise(terms: npt.NDArray[np.float64]) -> bool:
    """Whether both nulls are above 0 by more than chance."""
    if len(terms) < _FEWEST:
        return False
    error = terms.std(axis=0, ddof=1) / len(terms) ** 0.5
    return bool((terms.mean(axis=0) > _ERRORS * error)[1:].all() and (error > 0).all())


def _free(means: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The noise-corrected cosine of means (…, 3) from ``_terms``. A null below ``_LEAST`` counts as ``_LEAST``."""
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
