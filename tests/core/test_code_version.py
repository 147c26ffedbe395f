"""Versions of code: of a function, of a baseline from outside, and of what a process has read."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from gensr_model.errors import ConfigError
from tasks.core import code_version
from tasks.core.code_version import definitions_of


def test_a_function_from_elsewhere_counts_by_its_source_without_comments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = {
        "plain": "def fill():\n    return 1\n",
        "described": 'def fill():\n    """One."""\n    return 1  # it is\n',
        "other": "def fill():\n    return 2\n",
    }
    monkeypatch.syspath_prepend(str(tmp_path))
    codes = {}
    for name, source in sources.items():
        (tmp_path / f"{name}_fill.py").write_text(source, encoding="utf-8")
        (codes[name],) = definitions_of(importlib.import_module(f"{name}_fill").fill).values()
    assert codes["plain"] == codes["described"] != codes["other"]


@pytest.mark.parametrize("content", [b"\xef\xbb\xbfimport os\n", b"# coding: latin-1\nname = '\xe9'\n"])
def test_a_baseline_of_any_encoding_that_python_reads(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "baseline.py").write_bytes(content)
    assert code_version.foreign(tmp_path / "baseline.py").roots == ()


@pytest.mark.parametrize(
    ("line", "counts"),
    [
        ("from mine.layers import WIDTH", True),
        ("from .layers import WIDTH", True),
        ("from ..mine import layers", True),
        ("import beside", False),
    ],
)
def test_a_baseline_in_a_package_counts_with_the_modules_of_its_package(
    line: str, counts: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not with what is installed beside that package."""
    (tmp_path / "mine" / "deep").mkdir(parents=True)
    for name in ("mine/__init__.py", "mine/deep/__init__.py", "mine/layers.py", "beside.py"):
        (tmp_path / name).write_text("WIDTH = 1\n", encoding="utf-8")
    baseline = tmp_path / "mine" / "deep" / "baseline.py"
    baseline.write_text(line.replace("from .l", "from ..l") + "\n", encoding="utf-8")
    before = code_version.foreign(baseline)
    changed = tmp_path / ("mine/layers.py" if counts else "beside.py")
    changed.write_text("WIDTH = 2\n", encoding="utf-8")
    assert code_version.foreign(baseline) == before
    monkeypatch.setattr(code_version, "FOREIGN", {})
    assert (code_version.foreign(baseline) != before) is counts


def test_comments_of_a_baseline_change_its_version_and_not_its_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process compares bytes with another's; a key follows what runs."""
    file = tmp_path / "baseline.py"
    file.write_text("from gensr_model.baselines.sasrec import SASRec\nWIDTH = 1\n", encoding="utf-8")
    before = code_version.foreign(file)
    assert before.roots == ("gensr_model.baselines.sasrec:SASRec",)
    expected = code_version.versions()
    for content, same in (("# wide\n", True), ("WIDTH = 2\n", False)):
        file.write_text(file.read_text(encoding="utf-8") + content, encoding="utf-8")
        monkeypatch.setattr(code_version, "FOREIGN", {})
        assert (code_version.foreign(file).code == before.code) is same
        with pytest.raises(ConfigError, match=r"baseline\.py changed after this run had begun"):
            code_version.must_be(expected)
