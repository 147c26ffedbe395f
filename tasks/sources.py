"""Which source files an output depends on, so that changed code is never answered with old results."""

from __future__ import annotations

import ast
import functools
import hashlib
import threading
from pathlib import Path

import gensr_model

SOURCES = Path(gensr_model.__file__).resolve().parent.parent
_OURS = ("gensr_model", "tasks", "expectations", "sql")  # beside them, in site-packages, may lie everybody's
_SUFFIXES = {".py", ".sql"}

# CPython 3.11 counts the depth of a syntax tree once for all threads, and fails where two of them build one.
_PARSING = threading.Lock()

# What decides how a stage is run but not what it writes. The config's values are in the key themselves.
RUNNERS = frozenset(
    {
        "gensr_model/config.py",
        "gensr_model/model_config.py",
        "gensr_model/study_config.py",
        "tasks/stage.py",
        "tasks/alone.py",
        "tasks/home.py",
        "tasks/tracking.py",
        "tasks/sources.py",
    }
)


@functools.cache
def code_digest(roots: tuple[str, ...]) -> str:
    """sha256 over names and content of all ``source_files``. Raises FileNotFoundError for a wrong name."""
    total = hashlib.sha256()
    for file in source_files(roots):
        total.update(f"{file}\0".encode())
        total.update(hashlib.sha256((SOURCES / file).read_bytes()).digest())
    return total.hexdigest()


@functools.cache
def source_files(roots: tuple[str, ...]) -> tuple[str, ...]:
    """The roots (files, or folders with all that is in them) and every module of ours that they import, sorted.

    Imports are followed from file to file, those inside functions too. ``RUNNERS`` are left out.
    """
    found: set[str] = set()
    waiting = [file for root in roots for file in _files_of(root)]
    while waiting:
        file = waiting.pop()
        if file in found or file in RUNNERS:
            continue
        found.add(file)
        if file.endswith(".py"):
            waiting += _imported(file)
    return tuple(sorted(found))


def _files_of(root: str) -> list[str]:
    path = SOURCES / root
    if path.is_dir():
        return [str(p.relative_to(SOURCES)) for p in path.rglob("*") if p.suffix in _SUFFIXES]
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such source file or folder")
    return [root]


@functools.cache
def _imported(file: str) -> tuple[str, ...]:
    """Our own files that this file imports, the packages on their way included."""
    names: set[str] = set()
    with _PARSING:
        tree = ast.parse((SOURCES / file).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    modules = {name.rsplit(".", up)[0] for name in names for up in range(name.count(".") + 1)}
    paths = [name.replace(".", "/") for name in modules if name.split(".")[0] in _OURS]
    places = {place for path in paths for place in (f"{path}.py", f"{path}/__init__.py")}
    return tuple(sorted(place for place in places if (SOURCES / place).is_file()))
