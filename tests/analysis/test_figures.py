from pathlib import Path

import numpy as np
import pytest
from matplotlib import image
from matplotlib.colors import to_rgb

from gensr_model.analysis.figures import (
    COLORS,
    Plane,
    gradient_figure,
    information_figure,
    smooth,
    space_figure,
    theorem_figure,
    validation_figure,
)


def drawn(pixels: np.ndarray) -> list[bool]:
    """Whether each of the first three models, or sides, has pixels in its colour."""
    near = [np.abs(pixels[..., :3] - to_rgb(color)).max(axis=-1) < 0.004 for color in COLORS[:3]]
    return [int(result.sum()) > 20 for result in near]


def halves(path: Path) -> tuple[list[bool], list[bool]]:
    """What is drawn in the left and in the right one of two panels."""
    pixels = image.imread(path)
    middle = pixels.shape[1] // 2
    return drawn(pixels[:, :middle]), drawn(pixels[:, middle:])


def test_gradient_figure_shows_every_model(tmp_path: Path) -> None:
    steps = range(0, 200, 10)
    null = {"null_recommendation": 0.3, "null_search": 0.1}
    calm = [{"step": s, "cosine": 0.5, **null} for s in steps]
    wild = [{"step": s, "cosine": np.cos(s), **null} for s in steps]
    gradient_figure({"gensr": calm}, tmp_path / "one.png")
    gradient_figure({"gensr": calm, "two_head": wild}, tmp_path / "two.png")
    gradient_figure({"gensr": calm[:1]}, tmp_path / "point.png")
    gradient_figure({}, tmp_path / "empty.png")
    seen = {path.stem: drawn(image.imread(path)) for path in tmp_path.iterdir()}
    assert seen == {
        "empty": [False, False, False],
        "one": [True, False, False],
        "point": [True, False, False],  # of one probe there is the legend
        "two": [True, True, False],
    }


def test_information_figure_with_a_task_that_one_model_lacks(tmp_path: Path) -> None:
    result = {f"{name}_nats": 0.3 for name in ("mine", "infonce", "smile", "exact", "label")}
    information_figure({"gensr": {"search": result}}, tmp_path / "one.png")
    information_figure({"gensr": {"search": result}, "two_head": {"search": result}}, tmp_path / "two.png")
    assert halves(tmp_path / "one.png") == ([False] * 3, [True, False, False])
    assert halves(tmp_path / "two.png") == ([False] * 3, [True, True, False])


def test_validation_figure_skips_a_task_without_samples(tmp_path: Path) -> None:
    rising = [{"step": s, "metric": 0.1, "search/ndcg_at_5": s / 10} for s in (1.0, 2.0)]
    falling = [row | {"search/ndcg_at_5": 0.3 - row["step"] / 10} for row in rising]
    validation_figure({"gensr": rising}, tmp_path / "rising.png")
    validation_figure({"gensr": falling}, tmp_path / "falling.png")
    for name in ("rising", "falling"):
        assert halves(tmp_path / f"{name}.png") == ([False] * 3, [True, False, False]), name
    assert (image.imread(tmp_path / "rising.png") != image.imread(tmp_path / "falling.png")).any()


def test_space_figure_has_a_panel_for_every_plane_and_points_in_it(tmp_path: Path) -> None:
    """Three panels to a row; an empty fourth place stays white, a fourth plane is drawn there."""
    points, task = np.random.default_rng(0).normal(size=(200, 2)), np.arange(200) % 2
    names = ("inputs", "gensr", "two_head", "unisar")
    for number in (3, 4, 5):
        planes = {name: Plane(points, task, 0.9, 0.3) for name in (*names, "inputs_without_query")[:number]}
        space_figure(planes, tmp_path / f"{number}.png")
    three, four, five = (image.imread(tmp_path / f"{number}.png") for number in (3, 4, 5))
    assert three.shape[0] < four.shape[0] == five.shape[0]
    half, third = four.shape[0] // 2, four.shape[1] // 3
    for pixels, panels in ((four, 1), (five, 2)):
        for column in range(3):
            panel = pixels[half + 20 :, column * third + 10 : (column + 1) * third - 10]
            both = [column < panels] * 2
            assert drawn(panel) == [*both, False], column
            assert both[0] or (panel == 1).all(), "it stays white"


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
    one, two = (image.imread(tmp_path / f"{name}.png") for name in ("one", "two"))
    assert drawn(one) == drawn(two) == [True, True, False]
    assert (one != two).any()


@pytest.mark.parametrize("length", [1, 2, 7, 40])
def test_smoothing_keeps_the_length_and_a_constant(length: int) -> None:
    assert smooth(np.full(length, 0.3)) == pytest.approx(np.full(length, 0.3))
    ramp = np.arange(60.0)
    assert smooth(ramp)[30] == pytest.approx(30)
