"""``--set train.epochs=3`` sets one field of the config by its path. The value is read as the field's type."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any, get_args, get_origin

import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError

from flows.cli.config_file import parse_yaml
from gensr_model.config.base import members
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.errors import ConfigError


def assigned(assignment: str) -> dict[str, Any]:
    """The tree of ``path=value``.

    Raises ConfigError for an unknown path, with the three nearest, and ValueError without an ``=``.
    """
    path, sign, text = assignment.partition("=")
    path = path.strip()
    if not sign or not path:
        raise ValueError(f"{assignment!r} is no assignment. Give a path and a value, such as train.epochs=3.")
    kinds = list(_kinds(path.split("."), PipelineConfig))
    if not kinds:
        raise ConfigError(f"--set {path}: no such field. The nearest are {', '.join(nearest(path))}")
    value: Any = _value(kinds, text)
    for name in reversed(path.split(".")):
        value = {name: value}
    return dict(value)


def nearest(path: str) -> list[str]:
    """The three known paths that are most similar to this one, or whose last name is."""

    def likeness(known: str) -> float:
        ends = known.rsplit(".", 1)[-1], path.rsplit(".", 1)[-1]
        return max(_ratio(known, path), _ratio(*ends) * 0.99)

    return sorted(paths(), key=likeness, reverse=True)[:3]


def _ratio(a: str, b: str) -> float:
    return difflib.SequenceMatcher(None, a, b).ratio()


def paths() -> list[str]:
    """Every path that can be set, with sections."""
    return list(dict.fromkeys(_paths(PipelineConfig, "")))


def _paths(kind: Any, place: str) -> Iterator[str]:
    for model in members(kind):
        if _is_section(model):
            for name, field in model.model_fields.items():
                yield f"{place}{name}"
                yield from _paths(field.annotation, f"{place}{name}.")


def _kinds(names: list[str], kind: Any) -> Iterator[Any]:
    """The possible types of the field under ``kind``. Empty where there is no such field."""
    for member in members(kind):
        if not names:
            yield member
        elif get_origin(member) is dict:
            yield from _kinds(names[1:], get_args(member)[1])
        elif _is_section(member) and names[0] in member.model_fields:
            yield from _kinds(names[1:], member.model_fields[names[0]].annotation)


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _value(kinds: list[Any], text: str) -> Any:
    """The text where the field accepts it unchanged, else its value as YAML.

    The validation of the whole config checks the value later.
    """
    if text in ("null", "~") and type(None) in kinds:
        return None
    lists = any(get_origin(kind) is tuple for kind in kinds)
    if any(kind is not Any and _takes(kind, text) for kind in kinds) and not (lists and text.startswith("[")):
        return text
    try:
        value = parse_yaml(text)
        if lists and not isinstance(value, list):
            value = parse_yaml(f"[{text}]")  # a,b
    except yaml.YAMLError as error:
        if text.startswith(("[", "{")):
            problem = getattr(error, "problem", None) or error
            raise ConfigError(f"{text!r} is not YAML: {problem}. Names with signs such as ? stand in quotes") from error
        return text
    return value


def _takes(kind: Any, text: str) -> bool:
    try:
        TypeAdapter(kind).validate_python(text)
    except ValidationError:
        return False
    return True
