"""The definitions that a function runs: the functions, constants and SQL files that it names, and those that they name.

A definition is a statement at the top level of a module, called ``module:name``. An SQL file is called by its path.
Grimp knows which module imports which. A stage needs to know which functions it runs, so that other functions in the
same file do not count. Names are followed statically:

- a name or ``module.name`` leads to its definition, through imports at the top of a file and inside functions;
- a name that several imports or definitions bind (``try`` and ``except``, ``if`` and ``else``) leads to all of them;
- a module that is used in another way (``module:*``) counts whole;
- a string that names a query (``"amazon/reviews"``, ``f"audit/{name}"``) leads to the SQL files that it can mean;
- statements of a module that run at import, besides definitions, count for every importer (``module:``);
- annotations lead nowhere, because they do not run;
- of a config class only its methods count, because the values are in the key.

A definition that is chosen by name at run time (a registry) cannot be followed. A stage declares it as ``code`` and
``skip``.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from tasks.core.source_files import files_in, frozen, parse

# These decide how a stage runs and reports, not what it writes.
RUNNERS = frozenset(
    {
        "gensr_model.runtime.progress",
        "tasks.core.cluster",
        "tasks.core.code_version",
        "tasks.core.definitions",
        "tasks.core.isolated_process",
        "tasks.core.launched_stage",
        "tasks.core.run_log",
        "tasks.core.source_files",
        "tasks.core.stage",
        "tasks.core.state_dir",
        "tasks.core.tracking",
        "tasks.core.work",
        "tasks.core.worker_check",
    }
)
# These look up an entry by name; a stage declares the entries that it runs.
LOOK_UPS = frozenset({"tasks.core.dataset_format:dataset_format", "tasks.core.dataset_format:place_of"})
_CONFIG = "gensr_model.config."
_VALIDATORS = {"field_validator", "model_validator"}
_NEVER_RUN = {"TYPE_CHECKING", "__name__ == '__main__'"}  # conditions of blocks that a stage does not run
_DEFINITION = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


class Module(NamedTuple):
    """One file: its definitions, the meaning of its imports, and its other statements that run at import."""

    name: str
    defined: dict[str, list[ast.stmt]]
    imported: dict[str, set[str]]  # name -> ``module`` or ``module:name``; several where branches bind one name
    on_import: list[ast.stmt]


def walk(roots: Iterable[str], skip: Iterable[str] = ()) -> dict[str, str]:
    """Every definition that the roots run, with the digest of its syntax tree. Names without a statement are left out.

    Args:
        roots: ``module:name``, ``module:*``, an SQL file (``sql/amazon/reviews.sql``) or a folder of them. For a
            constant that is a call, ``module:name.argument`` is a named argument. Where the argument is not given, the
            called function or class counts, because it has the default.
        skip: definitions that are not followed and do not count.
    Raises:
        LookupError: a root or a definition to skip does not exist.
    """
    reached: dict[str, str] = {}
    seen = {each for name in skip for each in _each(name)} | LOOK_UPS
    waiting = [each for name in roots for each in _each(name)]
    while waiting:
        name = waiting.pop()
        if name in seen or name.partition(":")[0] in RUNNERS:
            continue
        seen.add(name)
        content, leads_to = _definition(name)
        if content:
            reached[name] = content
        waiting += leads_to
    return reached


def exists(name: str) -> bool:
    """Whether there is such a definition, module or SQL file."""
    module_name, colon, inner = name.partition(":")
    if not colon:
        return name in frozen()
    parsed = module(module_name)
    if parsed is None:
        return False
    return inner in {"", "*"} or inner in parsed.defined or inner in parsed.imported or bool(_argument(parsed, inner))


def _each(name: str) -> list[str]:
    inside = [] if ":" in name else files_in(name)
    if not inside and not exists(name):
        raise LookupError(f"{name}: no such definition, SQL file or folder")
    return inside or [name]


@functools.cache
def _definition(name: str) -> tuple[str, tuple[str, ...]]:
    """The definition's digest, "" where it has no statement of its own, and the definitions that it leads to."""
    module_name, colon, inner = name.partition(":")
    if not colon:
        return hashlib.sha256(sql_code(frozen()[name].decode()).encode()).hexdigest(), ()
    parsed = module(module_name)
    if parsed is None:
        return "", ()
    if inner == "*":
        return "", tuple(f"{module_name}:{each}" for each in parsed.defined)
    handed_on = {target if ":" in target else f"{target}:*" for target in parsed.imported.get(inner, ())}
    if handed_on and inner not in parsed.defined:  # from another module
        return "", (f"{module_name}:", *sorted(handed_on))
    statements: Sequence[ast.AST] = parsed.on_import
    if inner:
        statements = parsed.defined.get(inner) or _argument(parsed, inner)
    leads_to = handed_on.union(*(references(parsed, statement) for statement in statements), _imports(parsed))
    return tree_digest(statements) if statements else "", tuple(sorted(leads_to))


def _imports(parsed: Module) -> set[str]:
    """What runs when the module is imported: the module, its parent packages, and its imports at the top."""
    modules = {parsed.name, *(target.partition(":")[0] for targets in parsed.imported.values() for target in targets)}
    paths = [name.split(".") for name in modules]
    return {f"{'.'.join(path[:n])}:" for path in paths for n in range(1, len(path) + 1)}


def _argument(parsed: Module, name: str) -> list[ast.expr]:
    """The named argument ``A.b`` of a constant ``A = call(b=...)``, and ``A.b.c`` where ``A.b`` is such a call.

    It is ``call`` where the argument is not given, and the whole call where ``**`` may give the argument.
    """
    constant, *steps = name.split(".")
    value = _value(parsed, constant)
    for step in steps:
        if isinstance(value, ast.Name):
            value = _value(parsed, value.id)
        if not isinstance(value, ast.Call) or value.args:
            return []
        given = {word.arg: word.value for word in value.keywords}
        if step not in given:
            return [value if None in given else value.func]
        value = given[step]
    return [value] if steps and value is not None else []


def _value(parsed: Module, constant: str) -> ast.expr | None:
    statements = parsed.defined.get(constant, [])
    assigned = [s.value for s in statements if isinstance(s, ast.Assign)]
    return assigned[0] if len(assigned) == len(statements) == 1 else None


def tree_digest(statements: Sequence[ast.AST]) -> str:
    """SHA-256 of syntax trees without comments, docstrings and positions."""
    return hashlib.sha256("\n".join(map(ast.dump, statements)).encode()).hexdigest()


# --- one file ----------------------------------------------------------------------------------------------------


def module(name: str) -> Module | None:
    """One of our modules; None for any other."""
    path = name.replace(".", "/")
    for file in (f"{path}.py", f"{path}/__init__.py"):
        if file in frozen():
            return read_module(name, frozen()[file], is_package=file.endswith("__init__.py"))
    return None


@functools.cache
def read_module(name: str, source: bytes, is_package: bool = False) -> Module:
    """The definitions and imports of a source, without docstrings and the decorator ``stage``."""
    tree = without_docstrings(parse(source))
    package = name if is_package else name.rpartition(".")[0]
    parsed = Module(name, {}, {}, [])
    for statement in tree.body:
        if isinstance(statement, ast.If) and ast.unparse(statement.test) in _NEVER_RUN:
            continue
        if isinstance(statement, ast.Import | ast.ImportFrom):
            _bind(parsed.imported, statement, package)
            continue
        names = _bound_by(statement)
        if not (names and isinstance(statement, (*_DEFINITION, ast.Assign, ast.AnnAssign))):
            parsed.on_import.append(statement)
        for each in names:
            parsed.defined.setdefault(each, []).append(statement)
        for inner in ast.walk(statement) if not isinstance(statement, _DEFINITION) else ():
            if isinstance(inner, ast.Import | ast.ImportFrom):
                _bind(parsed.imported, inner, package)
        if name.startswith(_CONFIG) and isinstance(statement, ast.ClassDef):
            parsed.defined[statement.name] = []
            for method in _methods(statement):
                parsed.defined[f"{statement.name}.{method.name}"] = [method]
    return parsed


def _bound_by(statement: ast.stmt) -> set[str]:
    if isinstance(statement, _DEFINITION):
        return {statement.name}
    inside = list(ast.walk(statement))
    stored = {n.id for n in inside if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return stored | {node.name for node in inside if isinstance(node, _DEFINITION)}


def _methods(statement: ast.ClassDef) -> list[ast.FunctionDef]:
    """Methods that other code calls. Pydantic has run a config's validators before a stage sees the config."""
    methods = [node for node in statement.body if isinstance(node, ast.FunctionDef)]
    decorators = {m.name: {ast.unparse(d).partition("(")[0] for d in m.decorator_list} for m in methods}
    return [m for m in methods if not decorators[m.name] & _VALIDATORS and not m.name.startswith("__")]


def without_docstrings(tree: ast.Module) -> ast.Module:
    """Remove docstrings and ``stage`` decorators from the tree, in place. The decorator's arguments are in the key."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, *_DEFINITION)) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
        if isinstance(node, ast.FunctionDef):
            node.decorator_list = [d for d in node.decorator_list if not _is_stage(d)]
    return tree


def _is_stage(decorator: ast.expr) -> bool:
    return isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "stage"


def imported_names(statement: ast.Import | ast.ImportFrom, package: str) -> dict[str, str]:
    """The meanings of the names that an import binds, for names of ours."""
    names: dict[str, str] = {}
    if isinstance(statement, ast.Import):
        for alias in statement.names:
            full = alias.name if alias.asname else alias.name.partition(".")[0]
            names[alias.asname or full] = full
        return {name: target for name, target in names.items() if module(target) is not None}
    parent = ".".join(package.split(".")[: len(package.split(".")) + 1 - statement.level])
    origin = ".".join(filter(None, [parent if statement.level else "", statement.module]))
    for alias in statement.names:
        inner = f"{origin}.{alias.name}"
        if module(inner) is not None:
            names[alias.asname or alias.name] = inner
        elif module(origin) is not None:
            names[alias.asname or alias.name] = f"{origin}:{alias.name}"
    return names


def _bind(known: dict[str, set[str]], statement: ast.Import | ast.ImportFrom, package: str) -> None:
    for name, target in imported_names(statement, package).items():
        known.setdefault(name, set()).add(target)


# --- what a statement leads to -----------------------------------------------------------------------------------


def references(parsed: Module, statement: ast.AST) -> set[str]:
    """The definitions and SQL files that a statement of the module names."""
    nodes = list(_running(statement))
    known = {name: set(targets) for name, targets in parsed.imported.items()}
    for node, _ in nodes:
        if isinstance(node, ast.Import | ast.ImportFrom):
            _bind(known, node, parsed.name.rpartition(".")[0])
    leads_to: set[str] = set()
    for node, attributes in nodes:
        if isinstance(node, ast.Name):
            leads_to |= {_target(target, attributes) for target in known.get(node.id, ())}
            if node.id in parsed.defined:
                leads_to.add(f"{parsed.name}:{node.id}")
        elif isinstance(node, ast.Attribute):
            leads_to |= _config_methods().get(node.attr, set())
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            leads_to |= _queries(node.value)
        elif isinstance(node, ast.JoinedStr):
            leads_to |= _queries_like(node)
    return leads_to


def _running(statement: ast.AST) -> Iterator[tuple[ast.AST, tuple[str, ...]]]:
    """All nodes except annotations, each with its attribute chain: b, c for a in ``a.b.c``."""
    waiting: list[tuple[ast.AST, tuple[str, ...]]] = [(statement, ())]
    while waiting:
        node, attributes = waiting.pop()
        yield node, attributes
        after = (node.attr, *attributes) if isinstance(node, ast.Attribute) else ()
        for field, value in ast.iter_fields(node):
            if field not in {"annotation", "returns"}:
                children = value if isinstance(value, list) else [value]
                waiting += [(child, after) for child in children if isinstance(child, ast.AST)]


def _target(target: str, attributes: tuple[str, ...]) -> str:
    """The meaning of ``a.b.c`` where ``a`` is imported."""
    if ":" in target:
        return target
    for attribute in attributes:
        if module(f"{target}.{attribute}") is None:
            return f"{target}:{attribute}"
        target = f"{target}.{attribute}"
    return f"{target}:*"


@functools.cache
def _config_methods() -> dict[str, set[str]]:
    """Definitions of the methods of config classes, by name: static analysis does not know the class of an object.

    The base class is left out, because its methods only return values, which are in the key.
    """
    methods: dict[str, set[str]] = {}
    for file in set(files_in(_CONFIG.replace(".", "/").rstrip("/"))) - {"gensr_model/config/base.py"}:
        parsed = module(_module_of(file))
        for name in parsed.defined if parsed is not None else ():
            if "." in name:
                methods.setdefault(name.rpartition(".")[2], set()).add(f"{_module_of(file)}:{name}")
    return methods


def _module_of(file: str) -> str:
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


# --- SQL ---------------------------------------------------------------------------------------------------------

_SQL_PARTS = re.compile(r"""('(?:[^']|'')*'|"(?:[^"]|"")*"|\$\w*\$.*?\$\w*\$)|(?:--[^\n]*|/\*.*?\*/|\s)+""", re.S)


def sql_code(query: str) -> str:
    """A query without comments, with one blank for each white space outside of strings and quoted names."""
    return _SQL_PARTS.sub(lambda part: part[1] or " ", query).strip()


def _queries(name: str) -> set[str]:
    file = f"sql/{name}.sql"
    if file in frozen():
        return {file}
    return set(files_in(name)) if name.startswith("sql/") else set()


def _queries_like(string: ast.JoinedStr) -> set[str]:
    """The queries that a string with fields can name. ``f"audit/{name}"`` names some, ``f"{task}/{metric}"`` none."""
    literal = [str(part.value) if isinstance(part, ast.Constant) else None for part in string.values]
    fixed = "".join(part for part in literal if part)
    if "/" not in fixed or not re.search("[a-z]", fixed):
        return set()
    pattern = re.compile("sql/" + "".join(".*" if part is None else re.escape(part) for part in literal) + "[.]sql")
    return {file for file in files_in("sql") if pattern.fullmatch(file)}
