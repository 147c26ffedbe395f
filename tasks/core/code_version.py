"""Versions of code: of what a stage runs, of a baseline from outside, and of all that a process has read."""

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

Code = tuple["str | type | Callable[..., Any]", ...]  # what ``names_of`` takes


def names_of(code: Code) -> tuple[str, ...]:
    """Functions and classes as ``module:name``; names stay."""
    return tuple(value if isinstance(value, str) else name_of(value) for value in code)


def name_of(value: type | Callable[..., Any]) -> str:
    """A function or class as ``module:name``."""
    return f"{value.__module__}:{value.__qualname__}"


@functools.cache
def definitions_of(
    function: Callable[..., Any], code: tuple[str, ...] = (), skip: frozenset[str] = frozenset()
) -> dict[str, str]:
    """The definitions that a function runs, with their digests: ``definitions.walk`` from it and from ``code``.

    Of a function that is not in our packages, its own source alone.
    """
    name = name_of(function)
    if exists(name):
        return walk((name, *code), skip)
    tree = without_docstrings(parse(textwrap.dedent(inspect.getsource(function))))
    return walk(code, skip) | {name: tree_digest(tree.body)}


def entry_code(place: str, parts: tuple[str, ...]) -> tuple[tuple[str, ...], dict[str, str]]:
    """What parts of an entry run: definitions of ours, and digests of files that are not ours.

    Args:
        place: the entry as ``module:NAME``, a constant that is a call.
        parts: named arguments of the call, ``reading`` or ``preparing.tables``; of one that is not given the class
            with its default counts. Of a call with positional arguments the argument around it counts, or the whole
            entry. Of an entry that is not ours all counts.
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
    """A file that is not ours, with the files that it imports from beside it."""

    roots: tuple[str, ...]  # definitions of ours that they import
    code: str  # digest of their syntax trees, without comments and docstrings
    version: str  # digest of their bytes


FOREIGN: dict[Path, Foreign] = {}


def foreign(file: Path) -> Foreign:
    """A baseline's file as it was when it was first asked for.

    Imports are followed to files of its package, or to those beside it where it is in none; not to installed packages.
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
    """Where modules that ``path`` imports may lie between its own folder and ``top``."""
    folders = [folder for folder in path.parents if folder.is_relative_to(top)]
    places: set[str] = set()
    for name in _module_names(statement):
        parts = name.split(".")
        places |= {"/".join(parts[:n]) for n in range(1, len(parts) + 1) if parts[0] not in PACKAGES}
    files = []
    for place in sorted(places):
        within = folders
        if top != file.parent and place.split("/")[0] != file.relative_to(top).parts[0]:
            within = [folder for folder in folders if folder != top]  # everything that is installed may lie there
        files += [folder / each for folder in within for each in (f"{place}.py", f"{place}/__init__.py")]
    return files


def _module_names(statement: ast.Import | ast.ImportFrom) -> list[str]:
    """Names of modules that an import may mean; relative ones without their dots."""
    if isinstance(statement, ast.Import):
        return [alias.name for alias in statement.names]
    start = [statement.module] if statement.module else []  # none in `from . import name`
    return [".".join([*start, alias.name]) for alias in statement.names]


# --- processes of one run ----------------------------------------------------------------------------------------


def versions() -> dict[str, str]:
    """What this process has read: the digest of our code under ``""``; of baselines from outside under their files."""
    return {"": all_code(), **{str(file): entry.version for file, entry in FOREIGN.items()}}


def must_be(expected: dict[str, str]) -> None:
    """Raise ConfigError where the files are not what the ``versions`` of another process say."""
    changed = [file for file, version in expected.items() if version != _version(file)]
    if changed:
        names = ", ".join(file or "the source files of gensr" for file in changed)
        raise ConfigError(
            f"{names} changed after this run had begun, and its stages would be of two versions: start it again"
        )


def _version(file: str) -> str:
    try:
        return foreign(Path(file)).version if file else all_code()
    except FileNotFoundError:
        return ""
