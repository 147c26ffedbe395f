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
from gensr_model.analysis.gradient_conflict import GradientCosine
from gensr_model.analysis.subjects import OURS
from gensr_model.evaluation.compare import holm
from gensr_model.files import write_json

_RESAMPLES = 2_000


def analyze_gradients(
    bundles: Mapping[str, Path], out: Path, confidence: float = 0.95, seed: int = 0
) -> dict[str, float]:
    """What the probes along training say of each trained bundle, by name; returns ``gradient/model/name``.

    They are those of ``conflict_summary`` and ``gap_differences``. Writes ``gradient_conflict.json``, and the figures
    ``gradient_cosine.png``, unless no model was probed, and ``validation.png`` into `out`.
    """
    probes = {model: _read(folder, "gradients.json") for model, folder in bundles.items()}
    probes = {model: found for model, found in probes.items() if found}
    summary = {model: conflict_summary(found) for model, found in probes.items()}
    for model, found in gap_differences(probes, confidence, seed).items():
        summary[model] |= found
    write_json(out / "gradient_conflict.json", summary)
    if probes:
        gradient_figure(probes, out / "gradient_cosine.png")
    curves = {model: _read(folder, "training.json")["validations"] for model, folder in bundles.items()}
    validation_figure(curves, out / "validation.png")
    return {
        f"gradient/{model}/{name}": value for model, found in summary.items() for name, value in found.items()
    }


def conflict_summary(probes: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Over the probes along training: of the tasks' cosine mean, spread, smallest value and share below zero; the same
    on halves, of the null, and how far the tasks are below it; mean norms.

    ``gap`` is the mean of (tasks on halves − mean null of both tasks), ``gap_error`` its standard error, as if probes
    were independent.
    """
    columns = {name: np.array([probe[name] for probe in probes]) for name in GradientCosine._fields}
    cosine, halves = columns["cosine"], columns["cosine_halves"]
    null = (columns["null_recommendation"] + columns["null_search"]) / 2
    gap = _gaps(probes)
    return {
        "mean_cosine": float(cosine.mean()),
        "std_cosine": float(cosine.std()),
        "min_cosine": float(cosine.min()),
        "share_negative": float((cosine < 0).mean()),
        "mean_halves": float(halves.mean()),
        "share_negative_halves": float((halves < 0).mean()),
        "mean_null": float(null.mean()),
        "share_negative_null": float((null < 0).mean()),
        "mean_null_recommendation": float(columns["null_recommendation"].mean()),
        "mean_null_search": float(columns["null_search"].mean()),
        "gap": float(gap.mean()),
        "gap_error": float(gap.std(ddof=1) / len(gap) ** 0.5) if len(gap) > 1 else 0.0,
        "mean_norm_recommendation": float(columns["norm_recommendation"].mean()),
        "mean_norm_search": float(columns["norm_search"].mean()),
        "probes": float(len(cosine)),
    }


def gap_differences(
    probes: Mapping[str, Sequence[Mapping[str, float]]], confidence: float = 0.95, seed: int = 0
) -> dict[str, dict[str, float]]:
    """GenSR's ``gap`` less that of each other model: ``less``, its interval ``less_low`` and ``less_high``, ``less_p``
    and, corrected for all models, ``less_p_holm``.

    Above 0 GenSR's tasks conflict less. Models are probed on batches of their own, so nothing is paired: the interval
    is that of a bootstrap of either side, the test Welch's (1947). Both take probes as independent. A model with fewer
    than two probes is left out.
    """
    gaps = {model: _gaps(found) for model, found in probes.items() if len(found) > 1}
    if OURS not in gaps:
        return {}
    found: dict[str, dict[str, float]] = {}
    for model in (name for name in gaps if name != OURS):
        sides = (gaps[OURS], gaps[model])
        drawn = stats.bootstrap(
            sides,
            lambda ours, theirs, axis: ours.mean(axis) - theirs.mean(axis),
            n_resamples=_RESAMPLES,
            confidence_level=confidence,
            method="percentile",
            rng=np.random.default_rng(seed),
        ).confidence_interval
        found[model] = {
            "less": float(sides[0].mean() - sides[1].mean()),
            "less_low": float(drawn.low),
            "less_high": float(drawn.high),
            "less_p": float(stats.ttest_ind(*sides, equal_var=False).pvalue),
        }
    for row, p in zip(found.values(), holm([row["less_p"] for row in found.values()]), strict=True):
        row["less_p_holm"] = p
    return found


def _gaps(probes: Sequence[Mapping[str, float]]) -> npt.NDArray[np.float64]:
    """(probes,) the tasks' cosine on halves less that of one task's halves."""
    return np.array([p["cosine_halves"] - (p["null_recommendation"] + p["null_search"]) / 2 for p in probes])


def _read(folder: Path, name: str) -> Any:
    return json.loads((folder / name).read_text(encoding="utf-8"))
