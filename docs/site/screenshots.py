"""Take the pictures of a report that the pages show: `python docs/site/screenshots.py REPORT`.

REPORT is the page of a finished run, as `gensr report` prints it. Chromium takes the pictures without a window.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from PIL import Image

FOLDER = Path(__file__).resolve().parents[1] / "assets"
LARGEST = 120_000  # bytes of a picture


class View(NamedTuple):
    """The section that a picture shows, empty for the head of the page; its size in pixels; whether it is dark."""

    section: str
    width: int
    height: int
    dark: bool = False


VIEWS = {
    "report": View("", 1200, 960),
    "report_results": View("results", 1200, 820),
    "report_phone": View("", 500, 900, dark=True),  # Chromium has no narrower window
}


def take(report: Path, folder: Path) -> list[Path]:
    """Write each of ``VIEWS`` of a report as PNG, and return their paths.

    Raises FileNotFoundError where there is no Chromium, or where it leaves no picture.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return [_picture(report, view, folder / f"{name}.png") for name, view in VIEWS.items()]


def _picture(report: Path, view: View, path: Path) -> Path:
    others = f"header, nav, main > section:not(#{view.section}) {{display: none}} body {{display: block !important}}"
    hidden = f"<style>{others}</style>" if view.section else ""
    with tempfile.TemporaryDirectory() as temp:
        page, raw = Path(temp) / "page.html", Path(temp) / "picture.png"
        page.write_text(report.read_text(encoding="utf-8") + hidden, encoding="utf-8")
        command = [
            "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
            "--force-device-scale-factor=1", f"--blink-settings=preferredColorScheme={0 if view.dark else 1}",
            f"--user-data-dir={temp}/profile", f"--window-size={view.width},{view.height}", f"--screenshot={raw}",
            page.as_uri(),
        ]  # fmt: skip
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        path.write_bytes(small(Image.open(raw)))
    return path


def small(picture: Image.Image) -> bytes:
    """The picture as PNG of at most ``LARGEST`` bytes, with as many colours as fit."""
    for colors in (256, 128, 64, 32, 16):
        png = io.BytesIO()
        picture.convert("RGB").quantize(colors, dither=Image.Dither.NONE).save(png, "PNG", optimize=True)
        if png.tell() <= LARGEST:
            break
    return png.getvalue()


if __name__ == "__main__":
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_file():
        sys.exit("name the page of a finished run, as `gensr report` prints it")
    print(*take(Path(sys.argv[1]), FOLDER), sep="\n")
