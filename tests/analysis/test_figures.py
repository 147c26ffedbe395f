import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib import image

from gensr_model.analysis import figures
from gensr_model.analysis.figures import (
    Plane,
    gradient_figure,
    information_figure,
    space_figure,
    theorem_figure,
    validation_figure,
)


def picture(path: Path) -> np.ndarray:
    """Pixels of a PNG that must show more than one colour."""
    pixels = image.imread(path)
    assert pixels.std() > 0.01
    return pixels


def test_gradient_figure_shows_every_model(tmp_path: Path) -> None:
    steps = range(0, 200, 10)
    null = {"null_recommendation": 0.3, "null_search": 0.1}
    calm = [{"step": s, "cosine": 0.5, **null} for s in steps]
    wild = [{"step": s, "cosine": np.cos(s), **null} for s in steps]
    gradient_figure({"gensr": calm}, tmp_path / "one.png")
    gradient_figure({"gensr": calm, "two_head": wild}, tmp_path / "two.png")
    assert (picture(tmp_path / "one.png") != picture(tmp_path / "two.png")).any()
    gradient_figure({"gensr": calm[:1]}, tmp_path / "point.png")
    gradient_figure({}, tmp_path / "empty.png")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty.png", "one.png", "point.png", "two.png"]


def test_information_figure_with_a_task_that_one_model_lacks(tmp_path: Path) -> None:
    found = {f"{name}_nats": 0.3 for name in ("mine", "infonce", "smile", "exact", "label")}
    information_figure({"gensr": {"search": found}}, tmp_path / "one.png")
    information_figure({"gensr": {"search": found}, "two_head": {"search": found}}, tmp_path / "two.png")
    assert (picture(tmp_path / "one.png") != picture(tmp_path / "two.png")).any()


def test_validation_figure_skips_a_task_without_samples(tmp_path: Path) -> None:
    rising = [{"step": s, "metric": 0.1, "search/ndcg_at_5": s / 10} for s in (1.0, 2.0)]
    falling = [row | {"search/ndcg_at_5": 0.3 - row["step"] / 10} for row in rising]
    validation_figure({"gensr": rising}, tmp_path / "rising.png")
    validation_figure({"gensr": falling}, tmp_path / "falling.png")
    assert (picture(tmp_path / "rising.png") != picture(tmp_path / "falling.png")).any()


def test_space_figure_has_a_panel_for_every_plane_and_points_in_it(tmp_path: Path) -> None:
    """Three panels to a row; an empty fourth place stays white, a fourth plane is drawn there."""
    points, task = np.random.default_rng(0).normal(size=(200, 2)), np.arange(200) % 2
    names = ("inputs", "gensr", "two_head", "unisar")
    for number in (3, 4, 5):
        planes = {name: Plane(points, task, 0.9, 0.3) for name in (*names, "inputs_without_query")[:number]}
        space_figure(planes, tmp_path / f"{number}.png")
    three, four, five = (picture(tmp_path / f"{number}.png") for number in (3, 4, 5))
    assert three.shape[0] < four.shape[0] == five.shape[0]
    half, third = four.shape[0] // 2, four.shape[1] // 3
    for column, drawn in ((0, True), (1, False), (2, False)):
        place = four[half + 20 :, column * third + 10 : (column + 1) * third - 10]
        assert (place.std() > 0.01) == drawn, column
    assert five[half + 20 :, third + 10 : 2 * third - 10].std() > 0.01


def test_theorem_figure_draws_both_sides(tmp_path: Path) -> None:
    row = {"n": 30.0} | {
        f"{side}_{kind}": 0.5
        for side in ("generative", "discriminative", "true")
        for kind in ("error", "gaussian", "label")
    }
    rows = [row, row | {"n": 100.0, "generative_error": 0.2}]
    theorem_figure({"independent": rows}, tmp_path / "one.png")
    rows[1] = rows[1] | {"generative_label": 0.1}
    theorem_figure({"independent": rows}, tmp_path / "two.png")
    assert (picture(tmp_path / "one.png") != picture(tmp_path / "two.png")).any()


@pytest.mark.parametrize("length", [1, 2, 7, 40])
def test_smoothing_keeps_the_length_and_a_constant(length: int) -> None:
    assert figures._smooth(np.full(length, 0.3)) == pytest.approx(np.full(length, 0.3))
    ramp = np.arange(60.0)
    assert figures._smooth(ramp)[30] == pytest.approx(30)


def test_no_global_state_of_pyplot(tmp_path: Path) -> None:
    """In a fresh process: here another test may have imported pyplot."""
    draw = (
        "import sys; from pathlib import Path; from gensr_model.analysis.figures import gradient_figure;"
        f"gradient_figure({{}}, Path({str(tmp_path / 'g.png')!r})); sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", draw], timeout=60).returncode == 0
    assert (tmp_path / "g.png").is_file()
