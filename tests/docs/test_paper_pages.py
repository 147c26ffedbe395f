"""The pages on the paper name places that exist, and every departure has one row."""

from __future__ import annotations

import re

from prose import ROOT, modules

REFERENCE = ROOT / "docs" / "reference"
PLACES = (REFERENCE / "paper_to_code.md").read_text(encoding="utf-8")


def test_every_place_that_the_page_names_exists() -> None:
    """A file, and behind it the names that it has."""
    rows = [line.split(" | ")[1] for line in PLACES.splitlines() if line.startswith("| ")]
    places = [place for row in rows for place in re.findall(r"`([\w/-]+\.(?:py|sql))`((?: (?:preset )?`\w+`)*)", row)]
    assert len(places) > 60
    for file, names in places:
        [path] = [path for path in (ROOT / "gensr_model" / file, ROOT / file) if path.is_file()]
        source = path.read_text(encoding="utf-8")
        assert [name for name in re.findall(r"`(\w+)`", names) if not re.search(rf"\b{name}\b", source)] == [], file


def test_every_departure_has_one_row() -> None:
    text = (REFERENCE / "departures.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \[?([A-Z]{1,2})(?:\]\(\S+\))? \|", text, re.MULTILINE)
    assert len(set(rows)) == len(rows) > 40
    assert set(re.findall(r"\[([A-Z]{1,2})\]\(departures", PLACES)) == set(rows)
    code = "\n".join(path.read_text(encoding="utf-8") for path in modules())
    named = {letter for letters in re.findall(r"[Dd]epartures? ([A-Z]{2}(?: and [A-Z]{2})*)", code)
             for letter in letters.split(" and ")}  # fmt: skip
    assert {"AL", "AR", "AS", "AT"} <= named <= set(rows)
