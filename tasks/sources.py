"""Which source files an output depends on, so that changed code is never answered with old results.

Files are read when this module is imported, once: the code that a process runs is that of its beginning, whatever
happens to the files while it runs.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import sys
import threading
from pathlib import Path

import gensr_model

SOURCES = Path(__file__).resolve().parent.parent
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


def only_this_version() -> None:
    """Take every folder off ``sys.path`` that holds another ``gensr_model``.

    MLflow puts the code of each model that it loads first there, for good; a new process inherits the path, and would
    run the code of the model's day.
    """
    sys.path[:] = [
        place for place in sys.path if _is_ours(Path(place)) or not (Path(place) / "gensr_model").is_dir()
    ]


def _is_ours(place: Path) -> bool:
    return place.resolve() == SOURCES


@functools.cache
def code_digest(roots: tuple[str, ...]) -> str:
    """sha256 over names and content of all ``source_files``. Raises FileNotFoundError for a wrong name."""
    total = hashlib.sha256()
    for file in source_files(roots):
        total.update(f"{file}\0".encode())
        total.update(hashlib.sha256(_content(file)).digest())
    return total.hexdigest()


def all_code() -> str:
    """The digest of everything that decides an output."""
    return code_digest(_OURS)


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


@functools.cache
def _content(file: str) -> bytes:
    return (SOURCES / file).read_bytes()


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
    places = [place for place in _places(_content(file)) if place.split("/")[0].removesuffix(".py") in _OURS]
    return tuple(sorted(place for place in places if (SOURCES / place).is_file()))


def foreign(file: Path) -> tuple[tuple[str, ...], str]:
    """Of a file that is not ours: the modules of ours that it imports, and a digest of it and of what lies beside it.

    Imports are followed to files of its own folder and below, not to installed packages.
    """
    ours: set[str] = set()
    found: dict[Path, bytes] = {}
    waiting = [file]
    while waiting:
        one = waiting.pop()
        if one in found:
            continue
        found[one] = one.read_bytes()
        for place in _places(found[one]):
            if place.split("/")[0] in _OURS:
                ours |= {place} if (SOURCES / place).is_file() else set()
            else:
                waiting += [near for near in {file.parent / place, one.parent / place} if near.is_file()]
    total = hashlib.sha256()
    for one in sorted(found):
        total.update(f"{one.relative_to(file.parent)}\0".encode())
        total.update(hashlib.sha256(found[one]).digest())
    return tuple(sorted(ours)), total.hexdigest()


def _places(source: bytes) -> set[str]:
    """Where the modules that a source imports would lie, from the folder that holds their packages."""
    names: set[str] = set()
    with _PARSING:
        tree = ast.parse(source.decode())
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            start = [node.module] if node.module else []  # none in `from . import name`
            names |= {*start, *(".".join([*start, alias.name]) for alias in node.names)}
    modules = {name.rsplit(".", up)[0] for name in names for up in range(name.count(".") + 1)}
    paths = [name.replace(".", "/") for name in modules]
    return {place for path in paths for place in (f"{path}.py", f"{path}/__init__.py")}


if not _is_ours(Path(gensr_model.__file__).parent.parent):
    raise ImportError(
        f"gensr_model was imported from {Path(gensr_model.__file__).parent}, not from beside {SOURCES / 'tasks'}: "
        "import tasks before you load a model from MLflow, or start a new process"
    )
for _package in _OURS:
    for _file in _files_of(_package):
        _content(_file)
