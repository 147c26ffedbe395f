"""Pictures of a report for the pages: made by a script, and small."""

from __future__ import annotations

import io
import shutil
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from prose import ROOT

PAGE = """<!doctype html><meta name="color-scheme" content="light dark">
<style>body {margin: 0; display: grid; grid-template-columns: 50px 1fr} header {grid-column: 1 / -1}</style>
<header style="height:100px;background:red"></header><nav></nav>
<main><section id="short" style="height:100px"></section>
<section id="results" style="height:900px;background:blue"></section></main>"""


@pytest.fixture(scope="module")
def screenshots() -> Any:
    spec = spec_from_file_location("screenshots", ROOT / "docs" / "site" / "screenshots.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_pictures_of_the_pages_are_small(screenshots: Any) -> None:
    large = [path for path in (ROOT / "docs").rglob("*.png") if path.stat().st_size > screenshots.LARGEST]
    assert large == []


def test_a_picture_gets_as_many_colours_as_fit(screenshots: Any) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    png = screenshots.small(Image.fromarray(noise))
    assert len(png) <= screenshots.LARGEST
    assert Image.open(io.BytesIO(png)).size == (400, 300)


@pytest.mark.slow
def test_the_script_takes_head_section_and_dark(screenshots: Any, tmp_path: Path) -> None:
    if shutil.which("chromium") is None:
        pytest.skip("no chromium on this machine (apt-get install chromium)")
    (tmp_path / "report.html").write_text(PAGE, encoding="utf-8")
    head, results, phone = (
        Image.open(path).convert("RGB") for path in screenshots.take(tmp_path / "report.html", tmp_path / "pictures")
    )
    assert head.size == (1200, 960)
    assert np.asarray(head)[50, 600].tolist() == [255, 0, 0]
    assert np.asarray(head)[150, 600].min() > 200, "light"
    assert np.asarray(results)[50, 600].tolist() == [0, 0, 255], "the section alone"
    assert phone.size[0] == 500
    assert np.asarray(phone)[150, 250].max() < 60, "dark"
