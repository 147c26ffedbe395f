"""The source files of gensr as they were when this process began.

Files are read once, when this module is imported. So the code of a process stays that of its beginning, even if files
change later. DuckDB runs queries from here, and keys of stages are made from here.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import sys
import threading
from pathlib import Path

import gensr_model

SOURCES = Path(__file__).resolve().parents[2]
PACKAGES = ("gensr_model", "tasks", "expectations", "sql")  # site-packages has other packages too
_SUFFIXES = {".py", ".sql"}

# CPython 3.11 counts the depth of a syntax tree globally, and fails where two threads build one.
_PARSING = threading.Lock()


def only_this_version() -> None:
    """Make ``sys.path`` find this ``gensr_model`` before any other.

    MLflow puts the code of each model that it loads first there, permanently. A new process inherits the path and would
    run the code from the time of the model.
    """
    ours = [place for place, folder in enumerate(sys.path) if _is_ours(Path(folder))]
    if not ours:
        sys.path.insert(0, str(SOURCES))
        return
    before = [folder for folder in sys.path[: ours[0]] if not (Path(folder) / "gensr_model").is_dir()]
    sys.path[: ours[0]] = before


def _is_ours(folder: Path) -> bool:
    return folder.resolve() == SOURCES


@functools.cache
def frozen() -> dict[str, bytes]:
    """All source files by their path below ``SOURCES``: ``tasks/core/stage.py``, ``sql/amazon/reviews.sql``."""
    every = (path for package in PACKAGES for path in sorted((SOURCES / package).rglob("*")))
    # Editors write locks and backups beside a file, under names with a dot.
    ours = (p for p in every if p.suffix in _SUFFIXES and not p.name.startswith(".") and p.is_file())
    return {path.relative_to(SOURCES).as_posix(): path.read_bytes() for path in ours}


@functools.cache
def all_code() -> str:
    """SHA-256 over names and bytes of all source files."""
    return digest_of_files(frozen())


def text(file: str) -> str:
    """The text of a source file. Raises FileNotFoundError where the file did not exist when this process began."""
    if file not in frozen():
        raise FileNotFoundError(f"{SOURCES / file}: no such source file")
    return frozen()[file].decode()


def files_in(folder: str) -> list[str]:
    """The source files in a folder and in those below it, sorted."""
    return sorted(file for file in frozen() if file.startswith(f"{folder}/"))


def parse(source: str | bytes) -> ast.Module:
    """The syntax tree. Only one thread at a time may build one."""
    with _PARSING:
        return ast.parse(source)


def digest_of_files(content: dict[str, bytes]) -> str:
    """SHA-256 over names and contents, in the order of names."""
    total = hashlib.sha256()
    for name in sorted(content):
        total.update(f"{name}\0".encode())
        total.update(hashlib.sha256(content[name]).digest())
    return total.hexdigest()


if not _is_ours(Path(gensr_model.__file__).parent.parent):
    raise ImportError(
        f"gensr_model was imported from {Path(gensr_model.__file__).parent}, not from beside "
        f"{SOURCES / 'tasks'}. Import tasks before you load a model from MLflow, or start a new "
        "process."
    )
frozen()
