"""The curve of a training run: few points, each the mean of the steps that it stands for."""

from __future__ import annotations

import pytest

from gensr_model.training import trainer
from gensr_model.training.trainer import on_curve


def test_a_point_is_the_mean_of_its_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "_CURVE_POINTS", 3)
    curve: list[dict[str, float]] = []
    seen = []
    for step in range(1, 9):  # 8 steps on at most 3 points: 3, 3 and 2
        seen.append(curve)
        curve = on_curve(curve, {"loss": float(step**2)}, step, 8)
    assert [(p["step"], p["steps"]) for p in curve] == [(3, 3), (6, 3), (8, 2)]
    assert [p["loss"] for p in curve] == pytest.approx([14 / 3, 77 / 3, 113 / 2])
    assert seen[2] == [{"step": 2.0, "steps": 2.0, "loss": 2.5}], "an earlier curve is left as it was"


@pytest.mark.parametrize("total", [1, 7, 200, 201, 10_328])
def test_a_run_of_any_length_has_few_points(total: int) -> None:
    curve: list[dict[str, float]] = []
    for step in range(1, total + 1):
        curve = on_curve(curve, {"loss": 1.0}, step, total)
    assert len(curve) <= trainer._CURVE_POINTS
    assert sum(p["steps"] for p in curve) == total == curve[-1]["step"]
