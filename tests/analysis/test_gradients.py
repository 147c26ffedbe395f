from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy import stats

from gensr_model.analysis.gradients import analyze_gradients, conflict_summary, gap_differences

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
        less = numbers.get(f"gradient/{model}/less")
        ours, its = numbers["gradient/gensr/gap"], numbers[f"gradient/{model}/gap"]
        assert less == (None if model == "gensr" else pytest.approx(ours - its))


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


def probes_of(gaps: np.ndarray) -> list[dict[str, float]]:
    """Probes whose tasks lie so far above one task's halves, whose cosines are .1 and .3."""
    return [{"cosine_halves": 0.2 + gap, "null_recommendation": 0.1, "null_search": 0.3} for gap in gaps]


def test_gensrs_gap_is_compared_with_each_other_models() -> None:
    rng = np.random.default_rng(6)
    gaps = {
        "gensr": rng.normal(0.1, 0.2, 90),
        "two_head": rng.normal(0, 0.1, 60),
        "unisar": rng.normal(0.1, 0.3, 50),
    }
    probes = {model: probes_of(of_model) for model, of_model in gaps.items()}
    found = gap_differences({**probes, "once": probes["gensr"][:1]}, confidence=0.8, seed=3)
    assert list(found) == ["two_head", "unisar"]
    for model, row in found.items():
        a, b = gaps["gensr"], gaps[model]
        assert row["less"] == pytest.approx(a.mean() - b.mean())
        # Welch's test by its formula.
        errors = a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)
        t = row["less"] / math.sqrt(sum(errors))
        freedom = sum(errors) ** 2 / (errors[0] ** 2 / (len(a) - 1) + errors[1] ** 2 / (len(b) - 1))
        assert row["less_p"] == pytest.approx(2 * stats.t.sf(abs(t), freedom))
        looped = [rng.choice(a, len(a)).mean() - rng.choice(b, len(b)).mean() for _ in range(2_000)]
        spread = np.std(looped)
        for end, share in (("low", 0.1), ("high", 0.9)):
            assert row[f"less_{end}"] == pytest.approx(np.quantile(looped, share), abs=0.15 * spread)
    smaller, larger = sorted(row["less_p"] for row in found.values())
    assert found["two_head"]["less_p_holm"] == pytest.approx(2 * smaller)
    assert found["unisar"]["less_p_holm"] == pytest.approx(larger)
    assert gap_differences({"two_head": probes["two_head"]}) == {}
