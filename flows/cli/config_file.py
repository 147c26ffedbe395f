"""A config as people write it: a YAML or JSON file, or JSON text."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

from gensr_model.errors import ConfigError


class _Loader(yaml.SafeLoader):
    """YAML 1.2's scalars: ``no`` is a word, ``1e-4`` a number, ``2026-01-02`` text. Keys are text and unique.

    An alias stands for one value. Those of lists and objects may hold themselves, or multiply.
    """

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        alias = self.peek_event() if self.check_event(yaml.AliasEvent) else None
        node = super().compose_node(parent, index)
        if alias and not isinstance(node, yaml.ScalarNode):
            problem = f"*{alias.anchor} stands for several values. Write them out"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=alias.start_mark)
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                key.tag = "tag:yaml.org,2002:str"
        pairs = [(self.construct_object(key, deep=True), key) for key, _ in node.value]
        seen = set[Any]()
        for name, key in pairs:
            if not isinstance(name, str):
                raise yaml.MarkedYAMLError(problem=f"{name!r} is no field name", problem_mark=key.start_mark)
            if name in seen:
                raise yaml.MarkedYAMLError(problem=f"{name!r} stands twice", problem_mark=key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep)


_TOO_DEEP = "lists or objects stand too deep within each other"
_DIGITS = list("-+0123456789")
_Loader.yaml_implicit_resolvers = {}
for _kind, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+", _DIGITS),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", [*_DIGITS, "."]),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(f"^(?:{_pattern})$"), _first)
_Loader.add_constructor("tag:yaml.org,2002:int", lambda loader, node: int(node.value))


def parse_yaml(text: str) -> Any:
    """The value of YAML text. Raises yaml.YAMLError."""
    try:
        return yaml.load(text, _Loader)
    except RecursionError:
        raise yaml.YAMLError(_TOO_DEEP) from None


def read_tree(given: str | None) -> dict[str, Any]:
    """The fields in a file, or in JSON text, which begins with a brace. Raises ConfigError for anything else."""
    if given is None or not given.strip():
        return {}
    if given.lstrip().startswith("{"):
        tree = _json(given, "the config")
    else:
        path = Path(given).expanduser()
        text = _text(path)
        tree = _json(text, str(path)) if path.suffix == ".json" else _yaml(text, path)
    if not isinstance(tree, dict):
        raise ConfigError(f"{given} holds {tree!r:.40}. Give fields with their values, such as `preset: best`.")
    return tree


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 ({error.reason} at byte {error.start}). Save it as UTF-8") from error
    except OSError as error:
        raise ConfigError(
            f"{path}: {error.strerror}, seen from {Path.cwd()}. Name a YAML or JSON file, or give a JSON object."
        ) from error


def _json(text: str, place: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        reason = _TOO_DEEP if isinstance(error, RecursionError) else error
        raise ConfigError(f"{place} is not JSON: {reason}") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    tree = dict(pairs)
    if len(tree) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} stands twice")
    return tree


def _yaml(text: str, path: Path) -> Any:
    try:
        tree = parse_yaml(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise ConfigError(f"{path}, line {line}: not YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {error}") from error
    return {} if tree is None else tree
