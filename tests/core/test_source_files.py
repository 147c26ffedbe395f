"""The sources of a process: those of its beginning, and no other version's."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gensr_model.errors import ConfigError
from tasks.core import source_files
from tasks.core.sql_runner import query


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name, text in {"tasks/one.py": "one = 1\n", "sql/10_a.sql": "select 1"}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.setattr(source_files, "SOURCES", tmp_path)
    forget()
    source_files.frozen()  # as when the module is imported
    yield tmp_path
    forget()


def forget() -> None:
    source_files.frozen.cache_clear()
    source_files.all_code.cache_clear()


def test_locks_and_backups_of_editors_are_no_sources(tree: Path) -> None:
    before = source_files.all_code()
    (tree / "tasks" / ".#one.py").symlink_to("me@here.1234")  # Emacs, while the buffer is not saved
    (tree / "tasks" / ".two.py").write_text("nonsense(", encoding="utf-8")
    forget()
    assert source_files.all_code() == before


def test_all_code_follows_bytes_and_names(tree: Path) -> None:
    before = source_files.all_code()
    (tree / "tasks" / "one.py").write_text("one = 1  # a comment\n", encoding="utf-8")
    assert source_files.all_code() == before, "the process goes on with what it has read"
    forget()
    after = source_files.all_code()
    (tree / "tasks" / "one.py").rename(tree / "tasks" / "two.py")
    forget()
    assert len({before, after, source_files.all_code()}) == 3


def test_a_query_runs_as_it_was_when_the_process_began(tree: Path) -> None:
    (tree / "sql" / "10_a.sql").write_text("select 2", encoding="utf-8")
    assert query("10_a") == "select 1"
    with pytest.raises(ConfigError, match=r"there is no query sql/11_b\.sql"):
        query("11_b")


def test_this_version_comes_first_and_nothing_else_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder behind ours may be where everything is installed, a gensr_model of another day too."""
    old, installed, ours = tmp_path / "code", tmp_path / "installed", str(source_files.SOURCES)
    for folder in (old, installed):
        (folder / "gensr_model").mkdir(parents=True)
    monkeypatch.setattr(sys, "path", [str(old), str(tmp_path), ours, str(installed)])
    source_files.only_this_version()
    assert sys.path == [str(tmp_path), ours, str(installed)]
    monkeypatch.setattr(sys, "path", [str(old), str(installed)])
    source_files.only_this_version()
    assert sys.path == [ours, str(old), str(installed)]


def test_tasks_beside_the_gensr_model_of_another_day_refuse(tmp_path: Path) -> None:
    """As where a model was loaded from MLflow before ``tasks`` was imported."""
    (tmp_path / "gensr_model").mkdir()
    (tmp_path / "gensr_model" / "__init__.py").write_text("", encoding="utf-8")
    path = [str(tmp_path), str(source_files.SOURCES)]
    code = f"import sys; sys.path[:0] = {path!r}; import tasks.core.source_files"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, encoding="utf-8")
    assert ran.returncode == 1
    assert f"gensr_model was imported from {tmp_path / 'gensr_model'}, not from beside" in ran.stderr
