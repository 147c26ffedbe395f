from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy import stats

from gensr_model.analysis.gradients import analyze_gradients, conflict_summary, noise_free

if TYPE_CHECKING:
    from trained_world import World


def test_numbers_and_files(world: World, tmp_path: Path) -> None:
    numbers = analyze_gradients(world.bundles, tmp_path)
    names = {"gradient_conflict.json", "gradient_cosine.png", "validation.png"}
    assert {p.name for p in tmp_path.iterdir()} == names
    assert all(math.isfinite(value) for value in numbers.values())
    assert set(world.bundles) == {"gensr", "two_head", "unisar"}
    for model, folder in world.bundles.items():
        probes = json.loads((folder / "gradients.json").read_text(encoding="utf-8"))
        assert len({probe["step"] for probe in probes}) == numbers[f"gradient/{model}/probes"] > 1
        assert numbers[f"gradient/{model}/mean_cosine"] == pytest.approx(np.mean([p["cosine"] for p in probes]))
        assert numbers[f"gradient/{model}/mean_norm_search"] > 0


def test_conflict_summary() -> None:
    rows = [(0.5, 0.3, 0.6, 0.2), (-0.5, -0.3, 0.6, 0.2), (1.0, 0.6, 0.0, -0.2), (0.0, 0.0, 0.4, 0.4)]
    names = ("cosine", "cosine_halves", "null_recommendation", "null_search")
    norms = {"norm_search": 2.0, "norm_recommendation": 3.0}
    result = conflict_summary([dict(zip(names, row, strict=True)) | norms for row in rows])
    assert result["mean_cosine"] == pytest.approx(0.25)
    assert result["min_cosine"] == -0.5
    assert result["share_negative"] == 0.25
    assert result["share_negative_halves"] == 0.25
    assert result["mean_null"] == pytest.approx((0.4 + 0.4 - 0.1 + 0.4) / 4)
    assert result["share_negative_null"] == 0.25
    assert result["gap"] == pytest.approx(result["mean_halves"] - result["mean_null"])
    assert (result["mean_norm_search"], result["mean_norm_recommendation"]) == (2, 3)
    assert result["probes"] == 4


def probed(batch: int, angle: float, probes: int, seed: int) -> list[dict[str, float]]:
    """Probes of two tasks whose gradients of 200 parameters have this cosine; a row's has 16 times as much noise."""
    rng = np.random.default_rng(seed)
    truth = np.zeros((2, 200))
    truth[:, 0], truth[1, :2] = 1, (angle, math.sqrt(1 - angle**2))
    noise = rng.normal(size=(probes, 2, 2, 200)) * 16 / math.sqrt(200 * batch / 4)
    halves = truth[:, None] + noise  # (probes, task, half, parameter)
    unit = halves / np.linalg.norm(halves, axis=3, keepdims=True)
    null = (unit[:, :, 0] * unit[:, :, 1]).sum(axis=2)
    between = np.einsum("nik,njk->nij", unit[:, 0], unit[:, 1]).mean(axis=(1, 2))
    return [
        {"cosine_halves": b, "null_recommendation": first, "null_search": second}
        for b, (first, second) in zip(between, null, strict=True)
    ]


def test_batches_of_other_sizes_have_the_same_cosine_less_noise() -> None:
    probes = {
        "gensr": probed(64, 0.3, 400, 0),
        "unisar": probed(1_024, 0.3, 400, 1),
        "two_head": probed(64, 0.9, 400, 2),
    }
    means = {name: np.mean([p["cosine_halves"] for p in rows]) for name, rows in probes.items()}
    assert means["unisar"] > 3 * means["gensr"], "or there would be nothing to correct"
    result = noise_free(probes)
    for model, angle in (("gensr", 0.3), ("unisar", 0.3), ("two_head", 0.9)):
        assert result[model]["free"] == pytest.approx(angle, abs=0.1)
        assert result[model]["free_low"] < angle < result[model]["free_high"]
    assert result["unisar"]["less_low"] < 0 < result["unisar"]["less_high"]
    assert result["unisar"]["less_p_holm"] > 0.05
    assert result["two_head"]["less_high"] < 0
    assert result["two_head"]["less_p_holm"] < 1e-6
    assert "less" not in result["gensr"]


def test_the_test_of_two_models_rejects_as_often_as_it_says() -> None:
    worlds = 100
    p = [
        noise_free({"gensr": probed(128, 0.3, 60, 2 * world), "unisar": probed(512, 0.3, 60, 2 * world + 1)})["unisar"]
        for world in range(worlds)
    ]
    assert np.mean([row["less_p"] < 0.1 for row in p]) == pytest.approx(0.1, abs=3 * math.sqrt(0.09 / worlds))


def test_the_numbers_of_two_models_are_those_of_a_loop() -> None:
    rows = {"gensr": probed(256, 0.5, 50, 4), "unisar": probed(256, 0.1, 40, 5), "few": probed(256, 0.1, 5, 6)}
    noise = [row | {"null_search": (-1) ** n * 0.1} for n, row in enumerate(rows["gensr"])]
    result = noise_free({**rows, "noise": noise}, confidence=0.8, seed=3)
    assert list(result) == ["gensr", "unisar"], "few probes, or a null of 0, give nothing"

    def free(of: list[dict[str, float]]) -> float:
        halves, first, second = (np.mean([row[name] for row in of]) for name in of[0])
        return float(halves / math.sqrt(first * second))

    assert result["unisar"]["less"] == pytest.approx(free(rows["gensr"]) - free(rows["unisar"]))
    pseudo = {
        name: np.array([len(of) * free(of) - (len(of) - 1) * free(of[:n] + of[n + 1 :]) for n in range(len(of))])
        for name, of in rows.items()
    }
    # Welch's test by its formula.
    a, b = pseudo["gensr"], pseudo["unisar"]
    errors = a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)
    t = (a.mean() - b.mean()) / math.sqrt(sum(errors))
    freedom = sum(errors) ** 2 / (errors[0] ** 2 / (len(a) - 1) + errors[1] ** 2 / (len(b) - 1))
    assert result["unisar"]["less_p"] == pytest.approx(2 * stats.t.sf(abs(t), freedom))
    assert result["unisar"]["less_p_holm"] == result["unisar"]["less_p"], "of one comparison"
    rng = np.random.default_rng(6)
    drawn = np.array([
        [free([of[n] for n in rng.integers(len(of), size=len(of))]) for of in (rows["gensr"], rows["unisar"])]
        for _ in range(2_000)
    ])  # fmt: skip
    for name, looped in (("less", drawn[:, 0] - drawn[:, 1]), ("free", drawn[:, 1])):
        for end, share in (("low", 0.1), ("high", 0.9)):
            expected = np.quantile(looped, share)
            assert result["unisar"][f"{name}_{end}"] == pytest.approx(expected, abs=0.15 * looped.std())
    assert list(noise_free({"unisar": rows["unisar"]})["unisar"]) == ["free", "free_low", "free_high"]
