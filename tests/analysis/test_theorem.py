import json
import math
from pathlib import Path

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from torch import Tensor

from gensr_model.analysis.theorem import (
    WORLDS,
    analyze_theorem,
    discriminative,
    draw,
    gaussian_information,
    generative,
    make_task,
    simulate,
)
from gensr_model.runtime.progress import NullReport


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def trials(n: int, correlation: float = 0.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    return draw(make_task(1.5, correlation, generator), (4, n), generator)


def test_the_true_parameter_is_what_both_estimates_go_to() -> None:
    generator = torch.Generator().manual_seed(0)
    for correlation, right in ((0.0, {"generative", "discriminative"}), (0.5, {"discriminative"})):
        task = make_task(1.5, correlation, generator)
        x, y = draw(task, (2, 40_000), generator)
        for name, estimate in (("generative", generative), ("discriminative", discriminative)):
            near = bool(((estimate(x, y)[:, :-1] - task.weight).norm(dim=1) < 0.1).all())
            assert near == (name in right)


def test_the_discriminative_estimate_is_scikit_learns() -> None:
    x, y = trials(60, 0.5)
    result = discriminative(x, y)
    for k in range(len(x)):
        fit = LogisticRegression(C=1 / 0.01, tol=1e-10, max_iter=10_000).fit(x[k].numpy(), y[k].numpy())
        assert result[k, :-1].numpy() == pytest.approx(fit.coef_[0], abs=1e-4)
        assert result[k, -1].item() == pytest.approx(fit.intercept_[0], abs=1e-4)


def test_the_generative_estimate_is_naive_bayes_with_pooled_variances() -> None:
    x, y = trials(60)
    result = generative(x, y)
    fit = GaussianNB(var_smoothing=0).fit(x[0].numpy(), y[0].numpy())
    pooled = torch.from_numpy(fit.var_.mean(axis=0))
    means = torch.from_numpy(fit.theta_)
    torch.testing.assert_close(result[0, :-1], (means[1] - means[0]) / pooled)
    middle = means.mean(dim=0)
    assert (result[0, :-1] @ middle + result[0, -1]).item() == pytest.approx(0, abs=1e-9)


def test_separable_samples_have_a_finite_estimate() -> None:
    x, y = draw(make_task(50.0, 0.0, torch.Generator().manual_seed(0)), (3, 30), torch.Generator().manual_seed(1))
    assert torch.isfinite(discriminative(x, y)).all()


def test_information_is_that_of_the_linear_gaussian_model_with_w_squared() -> None:
    # Y = wX + ε: I = −½ ln(1 − corr²), which takes w² and knows no sign.
    weight, variance, noise = -0.7, 2.0, math.pi**2 / 3
    correlation = weight * math.sqrt(variance) / math.sqrt(weight**2 * variance + noise)
    result = gaussian_information(torch.tensor([[weight]]), torch.tensor([[variance]]))
    assert result.item() == pytest.approx(-0.5 * math.log(1 - correlation**2))


def test_what_the_simulation_finds() -> None:
    right, wrong = (simulate(WORLDS[w], sizes=(60, 2_000), trials=30) for w in ("independent", "correlated"))
    # Eq. 14 holds where the generative model is right, and errors shrink with samples.
    assert right[0]["error_holds"] > 0.9
    assert right[1]["error_holds"] > 0.6
    assert right[1]["generative_error"] < right[0]["generative_error"] / 3
    # It fails for good where coordinates are correlated.
    assert wrong[1]["error_holds"] == 0
    # Eq. 15 grows with the size of ŵ, not with its nearness to w*: overfitting passes the truth.
    assert right[0]["discriminative_gaussian"] > right[0]["true_gaussian"]
    assert right[0]["gaussian_holds"] < 0.5 < right[0]["error_holds"]
    # What decisions tell of the label cannot pass the truth, and follows the error in both worlds.
    assert right[0]["discriminative_label"] < right[0]["generative_label"] < right[0]["true_label"] + 0.01
    assert right[0]["label_holds"] > 0.7
    assert wrong[1]["label_holds"] == 0
    assert wrong[0]["label_holds"] < 0.5 < wrong[0]["error_holds"]  # near w* is not in its direction
    assert all(math.isfinite(value) for row in (*right, *wrong) for value in row.values())


def test_numbers_and_files_are_the_same_twice(tmp_path: Path) -> None:
    numbers = analyze_theorem(3, 0, tmp_path, NullReport())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["theorem.json", "theorem.png"]
    assert set(json.loads((tmp_path / "theorem.json").read_text(encoding="utf-8"))) == set(WORLDS)
    assert 0 <= numbers["theorem/independent/30/error_holds"] <= 1
    assert analyze_theorem(3, 0, tmp_path, NullReport()) == numbers
