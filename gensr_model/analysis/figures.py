"""Figures of a run, as PNG files. They need no display and change no global state."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy.stats import gaussian_kde

from gensr_model.config.base import TASKS
from gensr_model.reporting.model_names import model_title

Entries = Sequence[Mapping[str, float]]
COLORS = ("#1f6fb2", "#d1622b", "#3d8f5f", "#8a5fb0", "#777777", "#b59a2c", "#c04d7a")
_ONE_BIT = float(np.log(2))  # in nats


class Plane(NamedTuple):
    """Samples of both tasks in two dimensions, with two figures of ``space.Separation``."""

    points: npt.NDArray[np.floating]  # (N, 2)
    task: npt.NDArray[np.integer]  # (N,) index into TASKS
    probe_accuracy: float
    overlap: float


def gradient_figure(entries: Mapping[str, Entries], path: Path) -> None:
    """Figure 4: the cosine between the task gradients during training.

    Args:
        entries: probes per model, each with "step", "cosine", and the nulls of both tasks, whose mean is dashed.
    """
    figure, (axis,) = _figure(1, (7.0, 3.6))
    axis.axhline(0.0, color="black", linewidth=0.8)
    for (model, probes), color in zip(entries.items(), COLORS, strict=False):
        steps, cosines = _columns(probes, "step", "cosine")
        axis.plot(steps, cosines, color=color, alpha=0.35, linewidth=0.8)
        title = model_title(model)
        axis.plot(steps, smooth(cosines), color=color, linewidth=1.8, label=title)
        null = np.mean(_columns(probes, "null_recommendation", "null_search"), axis=0)
        axis.plot(steps, smooth(null), "--", color=color, linewidth=1.2, label=f"{title}, one task's halves")
    axis.set(ylim=(-1.05, 1.05), xlabel="training step", ylabel="cosine of task gradients")
    axis.set_title("Agreement of the tasks' gradients in the shared self-attention")
    _legend(axis, bool(entries))
    _save(figure, path)


def validation_figure(entries: Mapping[str, Entries], path: Path) -> None:
    """Validation NDCG@5 during training, one panel per task.

    Args:
        entries: validations per model, each with "step" and "{task}/ndcg_at_5".
    """
    figure, axes = _figure(len(TASKS), (9.0, 3.6))
    for axis, task in zip(axes, TASKS, strict=True):
        drawn = False
        for (model, validations), color in zip(entries.items(), COLORS, strict=False):
            have = [entry for entry in validations if f"{task}/ndcg_at_5" in entry]
            if have:
                axis.plot(
                    *_columns(have, "step", f"{task}/ndcg_at_5"),
                    "o-",
                    color=color,
                    label=model_title(model),
                    markersize=3,
                )
                drawn = True
        axis.set(title=task, xlabel="training step", ylabel="valid ndcg_at_5")
        _legend(axis, drawn)
    _save(figure, path)


def information_figure(information: Mapping[str, Mapping[str, Mapping[str, float]]], path: Path) -> None:
    """Table 5 as bars, in nats, one panel per task.

    The bars are three estimates and the exact value of I(X; Ŷ), I(Ŷ; Y), and the maximum of a yes-or-no answer.

    Args:
        information: model → task → fields of ``mutual_information.TaskInformation``.
    """
    shown = {"MINE": "mine", "InfoNCE": "infonce", "SMILE": "smile", "exact": "exact", "I(Ŷ; Y)": "label"}
    figure, axes = _figure(len(TASKS), (9.0, 3.6))
    width = 0.8 / max(1, len(information))
    for axis, task in zip(axes, TASKS, strict=True):
        drawn = False
        for number, ((model, tasks), color) in enumerate(zip(information.items(), COLORS, strict=False)):
            if task not in tasks:
                continue
            place = np.arange(len(shown)) + (number - (len(information) - 1) / 2) * width
            values = [tasks[task][f"{name}_nats"] for name in shown.values()]
            spread = [tasks[task].get(f"{name}_std", 0.0) for name in shown.values()]
            axis.bar(place, values, width, yerr=spread, color=color, label=model_title(model), capsize=2)
            drawn = True
        axis.axhline(_ONE_BIT, color="black", linewidth=0.8, linestyle="--")
        axis.text(-0.5, _ONE_BIT, " ln 2, one bit", fontsize=7, va="bottom")
        axis.set(title=task, ylabel="nats", ylim=(min(0.0, axis.get_ylim()[0]), 1.15 * _ONE_BIT))
        axis.set_xticks(np.arange(len(shown)), list(shown), fontsize=8)
        _legend(axis, drawn)
    _save(figure, path)


def theorem_figure(simulated: Mapping[str, Entries], path: Path) -> None:
    """Theorem 4.1 over sample sizes: parameter errors (Eq. 14) and the two sides of Eq. 4, one row per world."""
    panels = {"error": "parameter error (Eq. 14)", "gaussian": "Σ ½ ln(1 + w²σ²/σ²), nats (Eq. 15)",
              "label": "Σ I(Ŷ; Y), nats"}  # fmt: skip
    figure, axes = _figure(len(panels), (11.0, 3.0 * len(simulated)), rows=max(1, len(simulated)))
    for number, (world, rows) in enumerate(simulated.items()):
        for axis, (kind, label) in zip(axes[number * len(panels) :], panels.items(), strict=False):
            for side, color in zip(("generative", "discriminative", "true"), (*COLORS[:2], "black"), strict=True):
                if f"{side}_{kind}" in rows[0]:
                    style = "--" if side == "true" else "o-"
                    axis.plot(*_columns(rows, "n", f"{side}_{kind}"), style, color=color, markersize=3, label=side)
            axis.set(xscale="log", xlabel="samples", ylabel=label, title=world)
            _legend(axis, True)
        axes[number * len(panels)].set(yscale="log")
    _save(figure, path)


def space_figure(planes: Mapping[str, Plane], path: Path) -> None:
    """Figure 3: points and density contours of both tasks, one panel per input or model, three in a row."""
    rows = max(1, math.ceil(len(planes) / 3))
    figure, axes = _figure(3, (9.0, 3.3 * rows), rows)
    for axis in axes[len(planes) :]:
        axis.set_axis_off()
    for axis, (name, plane) in zip(axes, planes.items(), strict=False):
        for number, (task, color) in enumerate(zip(TASKS, COLORS, strict=False)):
            points = plane.points[plane.task == number]
            axis.scatter(points[:, 0], points[:, 1], s=3, alpha=0.35, color=color, linewidths=0, label=task)
            _contours(axis, points, color)
        numbers = f"probe {plane.probe_accuracy:.2f}, overlap {plane.overlap:.2f}"
        axis.set(title=f"{model_title(name)}\n{numbers}", xticks=[], yticks=[])
        axis.title.set_fontsize(11)
    if planes:
        legend = axes[0].legend(frameon=False, fontsize=10, markerscale=4)
        for handle in legend.legend_handles:
            if handle is not None:
                handle.set_alpha(1.0)
    _save(figure, path)


def _contours(axis: Axes, points: npt.NDArray[np.floating], color: str) -> None:
    """Four levels of the points' kernel density; none where they lie on a line."""
    if len(points) < 3 or np.linalg.matrix_rank(np.cov(points.T)) < 2:
        return
    spread = points.std(axis=0)
    low, high = points.min(axis=0) - spread, points.max(axis=0) + spread
    across, up = np.meshgrid(np.linspace(low[0], high[0], 60), np.linspace(low[1], high[1], 60))
    density = gaussian_kde(points.T)(np.stack([across.ravel(), up.ravel()])).reshape(across.shape)
    axis.contour(across, up, density, levels=4, colors=color, linewidths=0.9)


def _figure(panels: int, size: tuple[float, float], rows: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure of `rows` rows of `panels` axes each, row by row."""
    figure = Figure(figsize=size, dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(rows, panels, squeeze=False).flat)


def _columns(entries: Entries, *names: str) -> list[np.ndarray]:
    return [np.array([entry[name] for entry in entries], dtype=float) for name in names]


def smooth(values: np.ndarray) -> np.ndarray:
    """Mean over nearby probes, fewer at the ends. The result is as long as `values`."""
    width = max(1, len(values) // 15)
    weight = np.convolve(np.ones(len(values)), np.ones(2 * width + 1), mode="full")[width : width + len(values)]
    total = np.convolve(values, np.ones(2 * width + 1), mode="full")[width : width + len(values)]
    return total / weight


def _legend(axis: Axes, drawn: bool) -> None:
    if drawn:
        axis.legend(frameon=False, fontsize=8)


def _save(figure: Figure, path: Path) -> None:
    aside = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    figure.savefig(aside, format="png")
    aside.replace(path)
