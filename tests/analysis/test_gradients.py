from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from gensr_model.analysis.gradients import analyze_gradients, conflict_summary

if TYPE_CHECKING:
    from trained_world import World


def test_numbers_and_files(world: World, tmp_path: Path) -> None:
    numbers = analyze_gradients(world.bundles, tmp_path)
    names = {"gradient_conflict.json", "gradient_cosine.png", "validation.png"}
    assert {p.name for p in tmp_path.iterdir()} == names
    assert all(math.isfinite(value) for value in numbers.values())
    assert set(world.bundles) == {"gensr", "two_head", "unisar"}
    for model, folder in world.bundles.items():
        probes = json.loads((folder / "gradients.json").read_text())
        assert len({probe["step"] for probe in probes}) == numbers[f"gradient/{model}/probes"] > 1
        assert numbers[f"gradient/{model}/mean_cosine"] == pytest.approx(
            np.mean([p["cosine"] for p in probes])
        )
        assert numbers[f"gradient/{model}/mean_norm_search"] > 0


def test_conflict_summary() -> None:
    rows = [(0.5, 0.3, 0.6, 0.2), (-0.5, -0.3, 0.6, 0.2), (1.0, 0.6, 0.0, -0.2), (0.0, 0.0, 0.4, 0.4)]
    names = ("cosine", "cosine_halves", "null_recommendation", "null_search")
    norms = {"norm_search": 2.0, "norm_recommendation": 3.0}
    found = conflict_summary([dict(zip(names, row, strict=True)) | norms for row in rows])
    assert found["mean_cosine"] == pytest.approx(0.25)
    assert found["min_cosine"] == -0.5
    assert found["share_negative"] == 0.25
    assert found["share_negative_halves"] == 0.25
    assert found["mean_null"] == pytest.approx((0.4 + 0.4 - 0.1 + 0.4) / 4)
    assert found["share_negative_null"] == 0.25
    assert found["gap"] == pytest.approx(found["mean_halves"] - found["mean_null"])
    assert (found["mean_norm_search"], found["mean_norm_recommendation"]) == (2, 3)
    assert found["probes"] == 4
