"""Figures of a run, as PNG files. Drawn on figures of their own: nothing global is touched, no display needed."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from gensr_model.config import TASKS

Entries = Sequence[Mapping[str, float]]
_COLORS = ("#1f6fb2", "#d1622b", "#3d8f5f", "#8a5fb0", "#777777", "#b59a2c", "#c04d7a")


def gradient_figure(entries: Mapping[str, Entries], path: Path) -> None:
    """Figure 4: cosine between the task gradients along training.

    Args:
        entries: per model its probes, each with "step" and "cosine".
    """
    figure, (axis,) = _figure(1, (7.0, 3.6))
    axis.axhline(0.0, color="black", linewidth=0.8)
    for (model, probes), color in zip(entries.items(), _COLORS, strict=False):
        steps, cosines = _columns(probes, "step", "cosine")
        axis.plot(steps, cosines, color=color, alpha=0.35, linewidth=0.8)
        axis.plot(steps, _smooth(cosines), color=color, linewidth=1.8, label=model)
    axis.set(ylim=(-1.05, 1.05), xlabel="training step", ylabel="cosine of task gradients")
    axis.set_title("Agreement of the tasks' gradients in the shared self-attention")
    _legend(axis, bool(entries))
    _save(figure, path)


def validation_figure(entries: Mapping[str, Entries], path: Path, metric: str = "ndcg_at_5") -> None:
    """Validation metric along training, one panel per task.

    Args:
        entries: per model its validations, each with "step" and "{task}/{metric}".
    """
    figure, axes = _figure(len(TASKS), (9.0, 3.6))
    for axis, task in zip(axes, TASKS, strict=True):
        drawn = False
        for (model, found), color in zip(entries.items(), _COLORS, strict=False):
            have = [entry for entry in found if f"{task}/{metric}" in entry]
            if have:
                axis.plot(
                    *_columns(have, "step", f"{task}/{metric}"), "o-", color=color, label=model, markersize=3
                )
                drawn = True
        axis.set(title=task, xlabel="training step", ylabel=f"valid {metric}")
        _legend(axis, drawn)
    _save(figure, path)


def ranking_figure(
    summaries: Mapping[str, Mapping[str, Mapping[str, float]]], path: Path, metric: str = "ndcg_at_10"
) -> None:
    """Bars of one metric per ranker, best on top, one panel per task; a ranker without the task has no bar.

    Args:
        summaries: per ranker what `evaluation.metrics.summarize` gives.
    """
    longest = max([1, *(sum(task in found for found in summaries.values()) for task in TASKS)])
    figure, axes = _figure(len(TASKS), (10.0, 1.2 + 0.4 * longest))
    for axis, task in zip(axes, TASKS, strict=True):
        values = {name: found[task][metric] for name, found in summaries.items() if task in found}
        order = sorted(values, key=lambda name: values[name])
        bars = axis.barh(order, [values[name] for name in order], color=_COLORS[0])
        axis.bar_label(bars, fmt="%.4f", padding=3, fontsize=8)
        axis.set(title=task, xlabel=metric, xlim=(0.0, 1.15 * max([*values.values(), 1e-3])))
    _save(figure, path)


def _figure(panels: int, size: tuple[float, float]) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=size, dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(1, panels, squeeze=False)[0])


def _columns(entries: Entries, *names: str) -> list[np.ndarray]:
    return [np.array([entry[name] for entry in entries], dtype=float) for name in names]


def _smooth(values: np.ndarray) -> np.ndarray:
    """Mean over the probes nearby, fewer at the ends; as long as `values`."""
    width = max(1, len(values) // 15)
    weight = np.convolve(np.ones(len(values)), np.ones(2 * width + 1), mode="full")[
        width : width + len(values)
    ]
    total = np.convolve(values, np.ones(2 * width + 1), mode="full")[width : width + len(values)]
    return total / weight


def _legend(axis: Axes, drawn: bool) -> None:
    if drawn:
        axis.legend(frameon=False, fontsize=8)


def _save(figure: Figure, path: Path) -> None:
    aside = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    figure.savefig(aside, format="png")
    aside.replace(path)
