"""The pages of reference say what the code says."""

from __future__ import annotations

import re
from importlib.util import module_from_spec, spec_from_file_location
from typing import Any

import pytest
from prose import ROOT

from flows.cli.assignments import paths
from gensr_model.config.pipeline import SECTIONS
from gensr_model.config.presets import PRESETS
from tasks.prepare.schemas import TABLES

REFERENCE = ROOT / "docs" / "reference"


@pytest.fixture(scope="module")
def written() -> dict[str, str]:
    """The generated pages as `python docs/site/reference.py` would write them."""
    spec = spec_from_file_location("reference", ROOT / "docs" / "site" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module: Any = module_from_spec(spec)
    spec.loader.exec_module(module)
    pages: dict[str, str] = module.written()
    return pages


def test_the_generated_pages_are_current(written: dict[str, str]) -> None:
    there = {name: (REFERENCE / name).read_text(encoding="utf-8") for name in written}
    stale = [name for name in written if written[name] != there[name]]
    assert stale == [], "run: python docs/site/reference.py"


def test_every_field_that_can_be_set_has_one_row(written: dict[str, str]) -> None:
    rows = re.findall(r"^\| `([a-z0-9_.\[\]]+)` \|", "".join(written.values()), re.MULTILINE)
    fields = [path for path in paths() if not any(other.startswith(f"{path}.") for other in paths())]
    assert len(fields) > 150
    assert set(fields) - set(rows) == set()
    decided = [row for row in rows if row.split(".")[0] in SECTIONS]
    assert sorted(decided) == sorted(set(decided))
    (epochs,) = re.findall(r"^\| `train.epochs` .*", written["config.md"], re.MULTILINE)
    assert all(f"`{preset['train']['epochs']}`" in epochs for preset in PRESETS.values())


def test_every_field_is_described(written: dict[str, str]) -> None:
    assert [
        row for page in written.values() for row in re.findall(r"^\| `(\w+\.[^`]+)` .*\|  \|$", page, re.MULTILINE)
    ] == []


def test_every_command_and_option_is_there(written: dict[str, str]) -> None:
    page = written["cli.md"]
    assert len(re.findall("^## gensr ", page, re.MULTILINE)) > 8
    assert re.search(r"^## gensr report\n(?:(?!^##).)*^\| `--open` \|", page, re.MULTILINE | re.DOTALL)
    assert "| `--set FIELD=VALUE` |" in page


def test_the_page_of_the_prepared_dataset_has_every_file_and_column() -> None:
    page = (REFERENCE / "prepared_dataset.md").read_text(encoding="utf-8")
    listed: dict[str, list[tuple[str, str]]] = {}
    for heading, text in re.findall(r"^## (.+)\n((?:(?!^## ).*\n)*)", page, re.MULTILINE):
        rows = re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", text, re.MULTILINE)
        listed |= {file: rows for file in heading.split(", ") if rows}
    there = {
        table: [(field.name, re.sub(r"\w+: ", "", str(field.type))) for field in schema]
        for table, schema in TABLES.items()
    }
    assert listed == there
