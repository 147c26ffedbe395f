"""Versions of code: of a stage, of a baseline outside the package, and of everything that a process has read."""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from gensr_model.config.base import digest
from gensr_model.errors import ConfigError
from tasks.core.definitions import exists, imported_names, module, tree_digest, walk, without_docstrings
from tasks.core.source_files import PACKAGES, all_code, digest_of_files, parse

Code = tuple["str | type | Callable[..., Any]", ...]  # argument of ``names_of``


def names_of(code: Code) -> tuple[str, ...]:
    """Functions and classes as ``module:name``. Names stay unchanged."""
    return tuple(value if isinstance(value, str) else name_of(value) for value in code)


def name_of(value: type | Callable[..., Any]) -> str:
    """A function or class as ``module:name``."""
    return f"{value.__module__}:{value.__qualname__}"


@functools.cache
def definitions_of(
    function: Callable[..., Any], code: tuple[str, ...] = (), skip: frozenset[str] = frozenset()
) -> dict[str, str]:
    """The definitions that a function runs, with their digests: ``definitions.walk`` from the function and from
    ``code``.

    For a function outside our packages only its source counts.
    """
    name = name_of(function)
    if exists(name):
        return walk((name, *code), skip)
    tree = without_docstrings(parse(textwrap.dedent(inspect.getsource(function))))
    return walk(code, skip) | {name: tree_digest(tree.body)}


def entry_code(place: str, parts: tuple[str, ...]) -> tuple[tuple[str, ...], dict[str, str]]:
    """The code that parts of an entry run: definitions of ours, and digests of other files.

    Args:
        place: the entry as ``module:NAME``, a constant that is a call.
        parts: named arguments of the call, ``reading`` or ``preparing.tables``. Where one is not given, the class with
            its default counts. In a call with positional arguments the enclosing argument counts, or the whole entry.
            For an entry outside our packages everything counts.
    """
    if exists(place):
        return tuple(next(filter(exists, _from_inner(f"{place}.{part}"))) for part in parts), {}
    module = importlib.import_module(place.partition(":")[0])
    source = foreign(Path(inspect.getfile(module)).resolve())
    return source.roots, {place: source.code}


def _from_inner(name: str) -> list[str]:
    """``m:A.b.c``, ``m:A.b`` and ``m:A``."""
    module, _, inner = name.partition(":")
    steps = inner.split(".")
    return [f"{module}:{'.'.join(steps[:n])}" for n in range(len(steps), 0, -1)]


def function_digest(function: Callable[..., Any]) -> str:
    """Digest of the definitions that a function runs (16 hex digits)."""
    return digest(definitions_of(function))


# --- a baseline from outside our packages ------------------------------------------------------------------------


class Foreign(NamedTuple):
    """A file outside our packages, with the files beside it that it imports."""

    roots: tuple[str, ...]  # our definitions that these files import
    code: str  # digest of their syntax trees, without comments and docstrings
    version: str  # digest of their bytes


FOREIGN: dict[Path, Foreign] = {}


def foreign(file: Path) -> Foreign:
    """A baseline's file as it was at the first call.

    Imports are followed to files of its package, or to those beside it where it is in no package. Installed packages
    are not followed.
    """
    if file not in FOREIGN:
        FOREIGN[file] = _read_foreign(file)
    return FOREIGN[file]


def _read_foreign(file: Path) -> Foreign:
    top = file.parent
    while (top / "__init__.py").is_file():
        top = top.parent
    roots: set[str] = set()
    content: dict[str, bytes] = {}
    trees: dict[str, str] = {}
    waiting = [file]
    while waiting:
        path = waiting.pop()
        place = str(path.relative_to(top))
        if place in content:
            continue
        content[place] = path.read_bytes()
        tree = without_docstrings(parse(content[place]))
        trees[place] = tree_digest(tree.body)
        imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
        for statement in imports:
            ours = imported_names(statement, package="").values()
            roots |= {target if ":" in target else f"{target}:*" for target in ours}
            if isinstance(statement, ast.Import):  # `import a.b` binds `a`, and the code may use all of `a.b`
                roots |= {f"{alias.name}:*" for alias in statement.names if module(alias.name) is not None}
            waiting += [near for near in _near(path, statement, top, file) if near.is_file()]
    return Foreign(tuple(sorted(roots)), digest(trees), digest_of_files(content))


def _near(path: Path, statement: ast.Import | ast.ImportFrom, top: Path, file: Path) -> list[Path]:
    """Possible paths of modules that ``path`` imports, from its own folder up to ``top``."""
    folders = [folder for folder in path.parents if folder.is_relative_to(top)]
    places: set[str] = set()
    for name in _module_names(statement):
        parts = name.split(".")
        places |= {"/".join(parts[:n]) for n in range(1, len(parts) + 1) if parts[0] not in PACKAGES}
    files = []
    for place in sorted(places):
        within = folders
        if top != file.parent and place.split("/")[0] != file.relative_to(top).parts[0]:
            within = [folder for folder in folders if folder != top]  # any installed package may be there
        files += [folder / each for folder in within for each in (f"{place}.py", f"{place}/__init__.py")]
    return files


def _module_names(statement: ast.Import | ast.ImportFrom) -> list[str]:
    """Names of modules that an import may mean. Relative names have no dots."""
    if isinstance(statement, ast.Import):
        return [alias.name for alias in statement.names]
    start = [statement.module] if statement.module else []  # none in `from . import name`
    return [".".join([*start, alias.name]) for alias in statement.names]


# --- processes of one run ----------------------------------------------------------------------------------------


def versions() -> dict[str, str]:
    """The versions that this process has read.

    The key ``""`` holds the digest of our code. The files of baselines outside the package are further keys.
    """
    return {"": all_code(), **{str(file): entry.version for file, entry in FOREIGN.items()}}


def must_be(expected: dict[str, str]) -> None:
    """Raise ConfigError where the files differ from the ``versions`` of another process."""
    changed = [file for file, version in expected.items() if version != _version(file)]
    if changed:
        names = ", ".join(file or "the source files of gensr" for file in changed)
        raise ConfigError(
            f"{names} changed after this run had begun, so its stages would mix two versions. Start the run again."
        )


def _version(file: str) -> str:
    try:
        return foreign(Path(file)).version if file else all_code()
    except FileNotFoundError:
        return ""
