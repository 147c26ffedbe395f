"""Which source files count as a stage's code: imports followed through a small tree of code_version."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gensr_model.errors import ConfigError
from tasks.core import code_version
from tasks.core.sql_runner import query

TREE = {
    "tasks/__init__.py": "",
    "tasks/one.py": "import numpy\nfrom tasks import two\nfrom tasks.core.stage import stage\n",
    "tasks/two.py": "def late():\n    from gensr_model.deep.three import thing\n",
    "tasks/core/stage.py": "import tasks.unseen\n",
    "tasks/unseen.py": "",
    "gensr_model/__init__.py": "",
    "gensr_model/deep/__init__.py": "",
    "gensr_model/deep/three.py": "import gensr_model.deep.four as f\n",
    "gensr_model/deep/four.py": "from tasks import one\n",  # round in a circle
    "gensr_model/deep/apart.py": "",
    "numpy/__init__.py": "",  # as where everything is installed into one folder
    "sql/10_a.sql": "select 1",
    "sql/README.md": "about",
}


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name, text in TREE.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(code_version, "SOURCES", tmp_path)
    forget()
    code_version._frozen()  # as when the module is imported
    yield tmp_path
    forget()


def forget() -> None:
    for cached in (
        code_version.code_digest,
        code_version.source_files,
        code_version._imported,
        code_version._frozen,
    ):
        cached.cache_clear()


def test_imports_are_followed_and_what_only_runs_stages_is_left_out(tree: Path) -> None:
    assert code_version.source_files(("tasks/one.py", "sql")) == (
        "gensr_model/__init__.py",
        "gensr_model/deep/__init__.py",
        "gensr_model/deep/four.py",
        "gensr_model/deep/three.py",
        "sql/10_a.sql",
        "tasks/__init__.py",
        "tasks/one.py",
        "tasks/two.py",
    )


@pytest.mark.parametrize(
    ("file", "counts"),
    [
        ("tasks/one.py", True),
        ("gensr_model/deep/four.py", True),
        ("sql/10_a.sql", True),
        ("tasks/core/stage.py", False),
        ("gensr_model/deep/apart.py", False),
        ("numpy/__init__.py", False),
        ("sql/README.md", False),
    ],
)
def test_the_digest_follows_the_files_that_count(tree: Path, file: str, counts: bool) -> None:
    before = code_version.code_digest(("tasks/one.py", "sql"))
    (tree / file).write_text((tree / file).read_text() + "\n")
    forget()
    assert (code_version.code_digest(("tasks/one.py", "sql")) != before) is counts


def test_a_file_that_changes_while_the_process_runs_changes_no_digest(tree: Path) -> None:
    """The process goes on with what it imported; its results may not be stored as those of the new code."""
    before = code_version.code_digest(("tasks/one.py",))
    (tree / "gensr_model/deep/four.py").write_text("changed")
    code_version.code_digest.cache_clear()
    assert code_version.code_digest(("tasks/one.py",)) == before


def test_locks_and_backups_of_editors_are_no_sources(tree: Path) -> None:
    before = code_version.all_code()
    (tree / "tasks" / ".#one.py").symlink_to("me@here.1234")  # Emacs, while the buffer is not saved
    (tree / "tasks" / ".two.py").write_text("nonsense(")
    forget()
    assert code_version.all_code() == before


def test_a_query_runs_as_it_was_when_the_process_began(tree: Path) -> None:
    (tree / "sql" / "10_a.sql").write_text("select 2")
    assert query("10_a") == "select 1"
    with pytest.raises(ConfigError, match=r"there is no query sql/11_b\.sql"):
        query("11_b")


def test_the_source_of_a_function_is_what_was_imported(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tree / "tasks" / "two.py"
    monkeypatch.syspath_prepend(str(file.parent))
    late = importlib.import_module("two").late
    before = code_version.source_of(late)
    file.write_text("def late():\n    return 'edited'\n")
    assert code_version.source_of(late) == before
    assert "import thing" in before
    forget()
    assert "edited" in code_version.source_of(late)


@pytest.mark.parametrize("content", [b"\xef\xbb\xbfimport os\n", b"# coding: latin-1\nname = '\xe9'\n"])
def test_a_baseline_of_any_encoding_that_python_reads(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "baseline.py").write_bytes(content)
    assert code_version.foreign(tmp_path / "baseline.py")[0] == ()


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
        (tmp_path / name).write_text("WIDTH = 1\n")
    baseline = tmp_path / "mine" / "deep" / "baseline.py"
    baseline.write_text(line.replace("from .l", "from ..l") + "\n")
    before = code_version.foreign(baseline)
    changed = tmp_path / ("mine/layers.py" if counts else "beside.py")
    changed.write_text("WIDTH = 2\n")
    assert code_version.foreign(baseline) == before
    monkeypatch.setattr(code_version, "_FOREIGN", {})
    assert (code_version.foreign(baseline) != before) is counts


def test_this_version_comes_first_and_nothing_else_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder behind ours may be where everything is installed, a gensr_model of another day too."""
    old, installed, ours = tmp_path / "code", tmp_path / "installed", str(code_version.SOURCES)
    for folder in (old, installed):
        (folder / "gensr_model").mkdir(parents=True)
    monkeypatch.setattr(sys, "path", [str(old), str(tmp_path), ours, str(installed)])
    code_version.only_this_version()
    assert sys.path == [str(tmp_path), ours, str(installed)]
    monkeypatch.setattr(sys, "path", [str(old), str(installed)])
    code_version.only_this_version()
    assert sys.path == [ours, str(old), str(installed)]


def test_a_renamed_file_and_a_wrong_root_are_seen(tree: Path) -> None:
    before = code_version.code_digest(("sql",))
    (tree / "sql" / "10_a.sql").rename(tree / "sql" / "11_a.sql")
    forget()
    assert code_version.code_digest(("sql",)) != before
    with pytest.raises(FileNotFoundError, match="12_b"):
        code_version.code_digest(("sql/12_b.sql",))


def test_threads_never_parse_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Concurrent trials hash the same code: CPython 3.11 fails where two threads build a syntax tree."""
    at_work, most = [], []
    plain = ast.parse

    def parse(source: str) -> ast.Module:
        at_work.append(1)
        most.append(len(at_work))
        time.sleep(0.002)
        try:
            return plain(source)
        finally:
            at_work.pop()

    forget()
    files = code_version.source_files(("gensr_model/models",))
    forget()
    with monkeypatch.context() as patch, ThreadPoolExecutor(4) as pool:
        patch.setattr("tasks.core.code_version.ast.parse", parse)
        list(pool.map(code_version._imported, [file for file in files if file.endswith(".py")]))
    assert len(most) > 10
    assert max(most) == 1


def test_tasks_beside_the_gensr_model_of_another_day_refuse(tmp_path: Path) -> None:
    """As where a model was loaded from MLflow before ``tasks`` was imported."""
    (tmp_path / "gensr_model").mkdir()
    (tmp_path / "gensr_model" / "__init__.py").write_text("")
    path = [str(tmp_path), str(code_version.SOURCES)]
    code = f"import sys; sys.path[:0] = {path!r}; import tasks.core.code_version"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert ran.returncode == 1
    assert f"gensr_model was imported from {tmp_path / 'gensr_model'}, not from beside" in ran.stderr
