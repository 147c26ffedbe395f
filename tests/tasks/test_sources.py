"""Which source files count as a stage's code: imports followed through a small tree of sources."""

from __future__ import annotations

import ast
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tasks import sources

TREE = {
    "tasks/__init__.py": "",
    "tasks/one.py": "import numpy\nfrom tasks import two\nfrom tasks.stage import stage\n",
    "tasks/two.py": "def late():\n    from gensr_model.deep.three import thing\n",
    "tasks/stage.py": "import tasks.unseen\n",
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
    monkeypatch.setattr(sources, "SOURCES", tmp_path)
    forget()
    yield tmp_path
    forget()


def forget() -> None:
    for cached in (sources.code_digest, sources.source_files, sources._imported, sources._content):
        cached.cache_clear()


def test_imports_are_followed_and_what_only_runs_stages_is_left_out(tree: Path) -> None:
    assert sources.source_files(("tasks/one.py", "sql")) == (
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
        ("tasks/stage.py", False),
        ("gensr_model/deep/apart.py", False),
        ("numpy/__init__.py", False),
        ("sql/README.md", False),
    ],
)
def test_the_digest_follows_the_files_that_count(tree: Path, file: str, counts: bool) -> None:
    before = sources.code_digest(("tasks/one.py", "sql"))
    (tree / file).write_text((tree / file).read_text() + "\n")
    forget()
    assert (sources.code_digest(("tasks/one.py", "sql")) != before) is counts


def test_a_file_that_changes_while_the_process_runs_changes_no_digest(tree: Path) -> None:
    """The process goes on with what it imported; its results may not be stored as those of the new code."""
    before = sources.code_digest(("tasks/one.py",))
    (tree / "gensr_model/deep/four.py").write_text("changed")
    sources.code_digest.cache_clear()
    assert sources.code_digest(("tasks/one.py",)) == before


def test_a_renamed_file_and_a_wrong_root_are_seen(tree: Path) -> None:
    before = sources.code_digest(("sql",))
    (tree / "sql" / "10_a.sql").rename(tree / "sql" / "11_a.sql")
    forget()
    assert sources.code_digest(("sql",)) != before
    with pytest.raises(FileNotFoundError, match="12_b"):
        sources.code_digest(("sql/12_b.sql",))


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
    files = sources.source_files(("gensr_model/models",))
    forget()
    with monkeypatch.context() as patch, ThreadPoolExecutor(4) as pool:
        patch.setattr("tasks.sources.ast.parse", parse)
        list(pool.map(sources._imported, [file for file in files if file.endswith(".py")]))
    assert len(most) > 10
    assert max(most) == 1


def test_tasks_beside_the_gensr_model_of_another_day_refuse(tmp_path: Path) -> None:
    """As where a model was loaded from MLflow before ``tasks`` was imported."""
    (tmp_path / "gensr_model").mkdir()
    (tmp_path / "gensr_model" / "__init__.py").write_text("")
    code = f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(sources.SOURCES)!r}]; import tasks.sources"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert ran.returncode == 1
    assert f"gensr_model was imported from {tmp_path / 'gensr_model'}, not from beside" in ran.stderr
