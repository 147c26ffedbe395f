"""Which source files an output depends on, so that changed code is never answered with old results.

Our files are read when this module is imported, once, and those of a baseline from outside when they are first asked
for: the code that a process runs is that of its beginning, whatever happens to the files while it runs. Queries are
run from what was read, and processes that a run starts compare what they read with it (``versions``).
"""

from __future__ import annotations

import ast
import functools
import hashlib
import inspect
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gensr_model
from gensr_model.errors import ConfigError

SOURCES = Path(__file__).resolve().parents[2]
_OURS = ("gensr_model", "tasks", "expectations", "sql")  # beside them, in site-packages, may lie everybody's
_SUFFIXES = {".py", ".sql"}

# CPython 3.11 counts the depth of a syntax tree once for all threads, and fails where two of them build one.
_PARSING = threading.Lock()

# What decides how a stage is run but not what it writes. The config's values are in the key themselves.
RUNNERS = frozenset(
    {
        "gensr_model/config/base.py",
        "gensr_model/config/data.py",
        "gensr_model/config/evaluation.py",
        "gensr_model/config/model.py",
        "gensr_model/config/pipeline.py",
        "gensr_model/config/studies.py",
        "gensr_model/config/training.py",
        "tasks/core/stage.py",
        "tasks/core/isolated_process.py",
        "tasks/core/state_dir.py",
        "tasks/core/tracking.py",
        "tasks/core/code_version.py",
    }
)


def only_this_version() -> None:
    """Have ``sys.path`` find this ``gensr_model`` before any other.

    MLflow puts the code of each model that it loads first there, for good; a new process inherits the path, and would
    run the code of the model's day.
    """
    ours = [place for place, folder in enumerate(sys.path) if _is_ours(Path(folder))]
    if not ours:
        sys.path.insert(0, str(SOURCES))
        return
    before = [folder for folder in sys.path[: ours[0]] if not (Path(folder) / "gensr_model").is_dir()]
    sys.path[: ours[0]] = before


def _is_ours(place: Path) -> bool:
    return place.resolve() == SOURCES


@functools.cache
def code_digest(roots: tuple[str, ...]) -> str:
    """sha256 over names and content of all ``source_files``. Raises FileNotFoundError for a wrong name."""
    return _digest({file: _frozen()[file] for file in source_files(roots)})


def all_code() -> str:
    """The digest of all of our files, those of ``RUNNERS`` too."""
    return _digest(_frozen())


def versions() -> dict[str, str]:
    """What this process has read: the digest of our code under ``""``; of baselines from outside under their files."""
    return {"": all_code(), **{str(file): digest for file, (_, digest) in _FOREIGN.items()}}


def must_be(expected: dict[str, str]) -> None:
    """Raise ConfigError where the files are not what the ``versions`` of another process say."""
    changed = [file for file, digest in expected.items() if digest != _version(file)]
    if changed:
        what = ", ".join(file or "the source files of gensr" for file in changed)
        raise ConfigError(
            f"{what} changed after this run had begun, and its stages would be of two versions: start it again"
        )


def _version(file: str) -> str:
    try:
        return foreign(Path(file))[1] if file else all_code()
    except FileNotFoundError:
        return ""


def place_of(file: Path) -> str | None:
    """Where a file lies from ``SOURCES``, if it is one of ours; a baseline or a test beside our packages is none."""
    place = file.relative_to(SOURCES).as_posix() if file.is_relative_to(SOURCES) else ""
    return place if place in _frozen() else None


def text(file: str) -> str:
    """One of our files as it was read; FileNotFoundError where there was none."""
    if file not in _frozen():
        raise FileNotFoundError(f"{SOURCES / file}: no such source file")
    return _frozen()[file].decode()


def source_of(function: Callable[..., Any]) -> str:
    """The source of a function, as it was read if its module is ours."""
    ours = place_of(Path(inspect.getfile(function)).resolve())
    if ours is not None:
        whole = text(ours)
        for node in _parsed(whole).body:
            if isinstance(node, ast.FunctionDef) and node.name == function.__name__:
                return ast.get_source_segment(whole, node) or ""
    return inspect.getsource(function)


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
def _frozen() -> dict[str, bytes]:
    """All of our files by their place from ``SOURCES``."""
    every = (path for package in _OURS for path in sorted((SOURCES / package).rglob("*")))
    # Editors keep locks and backups beside a file, under names with a dot.
    ours = (p for p in every if p.suffix in _SUFFIXES and not p.name.startswith(".") and p.is_file())
    return {path.relative_to(SOURCES).as_posix(): path.read_bytes() for path in ours}


def _files_of(root: str) -> list[str]:
    """A file itself, or all that is in a folder."""
    place = root.rstrip("/")
    found = [file for file in _frozen() if file == place or file.startswith(f"{place}/")]
    if not found:
        raise FileNotFoundError(f"{SOURCES / root}: no such source file or folder")
    return found


@functools.cache
def _imported(file: str) -> tuple[str, ...]:
    """Our own files that this file imports, the packages on their way included."""
    return tuple(sorted(place for place in _places(_frozen()[file]) if place in _frozen()))


_FOREIGN: dict[Path, tuple[tuple[str, ...], str]] = {}


def foreign(file: Path) -> tuple[tuple[str, ...], str]:
    """Of a file that is not ours: the modules of ours that it imports, and a digest of it and of its own modules.

    Imports are followed to files of its package, or to those beside it where it is in none; not to installed packages.
    """
    if file not in _FOREIGN:
        _FOREIGN[file] = _read_foreign(file)
    return _FOREIGN[file]


def _read_foreign(file: Path) -> tuple[tuple[str, ...], str]:
    top = file.parent
    while (top / "__init__.py").is_file():
        top = top.parent
    ours: set[str] = set()
    found: dict[Path, bytes] = {}
    waiting = [file]
    while waiting:
        one = waiting.pop()
        if one in found:
            continue
        found[one] = one.read_bytes()
        places = _places(found[one])
        ours |= {place for place in places if place in _frozen()}
        waiting += [near for place in places for near in _near(one, place, top, file) if near.is_file()]
    return tuple(sorted(ours)), _digest(
        {str(one.relative_to(top)): content for one, content in found.items()}
    )


def _near(one: Path, place: str, top: Path, file: Path) -> list[Path]:
    """Where a module that ``one`` imports may lie between its own folder and ``top``."""
    folders = [folder for folder in one.parents if folder.is_relative_to(top)]
    if top != file.parent and place.split("/")[0] != file.relative_to(top).parts[0]:
        folders.remove(top)  # beside a package may lie everything that is installed
    return [folder / place for folder in folders if place.split("/")[0] not in _OURS]


def _digest(content: dict[str, bytes]) -> str:
    """sha256 over names and contents, in the order of names."""
    total = hashlib.sha256()
    for name in sorted(content):
        total.update(f"{name}\0".encode())
        total.update(hashlib.sha256(content[name]).digest())
    return total.hexdigest()


def _parsed(source: str | bytes) -> ast.Module:
    with _PARSING:
        return ast.parse(source)


def _places(source: bytes) -> set[str]:
    """Where the modules that a source imports would lie, from the folder that holds their packages."""
    names: set[str] = set()
    for node in ast.walk(_parsed(source)):
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
_frozen()
