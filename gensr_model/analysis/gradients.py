"""Figure 4 on trained models: the probes that training left, in numbers and figures (§6.5)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gensr_model.analysis.figures import gradient_figure, validation_figure
from gensr_model.analysis.gradient_conflict import GradientCosine
from gensr_model.files import write_json


def analyze_gradients(bundles: Mapping[str, Path], out: Path) -> dict[str, float]:
    """What the probes along training say of each trained bundle, by name; returns ``gradient/model/name``.

    Writes ``gradient_conflict.json``, and the figures ``gradient_cosine.png``, unless no model was probed, and
    ``validation.png`` into `out`.
    """
    probes = {model: _read(folder, "gradients.json") for model, folder in bundles.items()}
    probes = {model: found for model, found in probes.items() if found}
    summary = {model: conflict_summary(found) for model, found in probes.items()}
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
        "mean_null_recommendation": float(columns["null_recommendation"].mean()),
        "mean_null_search": float(columns["null_search"].mean()),
        "gap": float(gap.mean()),
        "gap_error": float(gap.std(ddof=1) / len(gap) ** 0.5) if len(gap) > 1 else 0.0,
        "mean_norm_recommendation": float(columns["norm_recommendation"].mean()),
        "mean_norm_search": float(columns["norm_search"].mean()),
        "probes": float(len(cosine)),
    }


def _read(folder: Path, name: str) -> Any:
    return json.loads((folder / name).read_text(encoding="utf-8"))
