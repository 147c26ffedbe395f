"""What many tests begin with: built once for all processes of a test run, and linked into each test's state folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock


def shared_folder(factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of this test run share: xdist gives each a base folder of its own in one parent."""
    base = factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"
    shared.mkdir(exist_ok=True)
    return shared


def built_once(folder: Path, build: Callable[[Path], object]) -> Path:
    """Have the first process that asks build the folder, in its place; the others wait for it."""
    done = folder.with_name(f"{folder.name}.done")
    with FileLock(folder.with_name(f"{folder.name}.lock")):
        if not done.is_file():
            build(folder)
            done.touch()
    return folder


def new_home(home: Path, database: Path) -> None:
    """A state folder with MLflow's file in it, a copy of ``database``."""
    (home / "mlflow").mkdir(parents=True)
    shutil.copy(database, home / "mlflow" / "mlflow.db")


def link_stages(source: Path, home: Path) -> None:
    """Give a state folder the generated files and finished stages of another one, as hard links, without its locks."""
    for name in ("generated", "store"):
        locks = shutil.ignore_patterns("*.lock")
        shutil.copytree(source / name, home / name, copy_function=_link, ignore=locks, dirs_exist_ok=True)


def _link(source: str, target: str) -> None:
    if not os.path.lexists(target):
        os.link(source, target)
