"""Write the reference pages of the config and of the command line from the code: `python docs/site/reference.py`.

A test fails where a page is not what this would write.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import typer

from flows.cli.app import app
from gensr_model.config.base import Frozen
from gensr_model.config.pipeline import SECTIONS, PipelineConfig
from gensr_model.config.presets import PRESETS

FOLDER = Path(__file__).resolve().parents[1] / "reference"
HEAD = "# {1}\n\n<!-- Written by python docs/site/reference.py: edit {0} and run it again. -->\n\n{2}\n"
CELL = 25  # words that a cell has room for
CONFIG_PAGES = {
    "config": (
        "Config: run, model and training",
        "This page lists the fields of the config that name a run, choose its preset, and decide model and training. "
        "It is for everyone who changes one.",
        ("", "studies", "model", "train", "lightgcn", "full_ranking", "semantic_ids"),
    ),
    "config_data": (
        "Config: data",
        "This page lists the fields of the config that say where the raw files are, how they are read, and how samples "
        "are made of them.",
        ("source", "ingest", "prepare", "logs"),
    ),
    "config_evaluation": (
        "Config: evaluation and studies",
        "This page lists the fields of the config that decide how models are compared, analysed, studied, promoted and "
        "used for many users.",
        ("evaluation", "statistics", "analysis", "rerank", "ablation", "sweep", "retrain", "recommend"),
    ),
}
HOW_TO_SET = """
Set a field in a config file, or on the command line: `--set train.epochs=3`. The preset gives all other fields their
values. Where presets differ, the column *default* names the value of each.

Other fields: {}.
"""
OVERVIEW = (
    "The command `gensr` starts runs and servers, checks your data, and shows reports. `make install` puts it into "
    "`.venv/bin`.\n\nExit status 0 is success. An expected error ends a command with one message and status 1. "
    "Wrong usage ends it with status 2."
)


def written() -> dict[str, str]:
    """Each generated page by its file name."""
    return {f"{name}.md": _config_page(name) for name in CONFIG_PAGES} | {"cli.md": _command_line()}


def _config_page(name: str) -> str:
    title, intro, sections = CONFIG_PAGES[name]
    others = [f"[{other[0].partition(': ')[2]}]({page}.md)" for page, other in CONFIG_PAGES.items() if page != name]
    head = HEAD.format("the descriptions in gensr_model/config", title, intro)
    return head + HOW_TO_SET.format(", ".join(others)) + "".join(map(_section, sections))


def _section(name: str) -> str:
    if name == "source":
        kinds = {
            kind.model_fields["kind"].default: kind for kind in _configs(PipelineConfig.model_fields[name].annotation)
        }
        return "".join(_table(f"source: {word}", kind, _rows(kind, "source.")) for word, kind in kinds.items())
    if not name:
        run = [row for row in _rows(PipelineConfig, "") if row[0].split(".")[0] not in SECTIONS]
        return _table("The run", PipelineConfig, run)
    return _table(name, SECTIONS[name], _rows(SECTIONS[name], f"{name}."))


def _table(title: str, config: type[Frozen], rows: list[tuple[str, str, str, str]]) -> str:
    intro = (config.__doc__ or "").split("\n\n")[0]
    lines, below = ["| field | type | default | what it decides |", "|---|---|---|---|"], []
    for path, kind, default, description in rows:
        cell, rest = _cell(description)
        lines.append(f"| `{path}` | {kind} | {default} | {cell} |")
        below += [f"- `{path}`: {rest}"] if rest else []
    parts = [
        f"\n## {title}",
        _prose(intro),
        "\n".join(lines),
        *(["More about them:", "\n".join(below)] if below else []),
    ]
    return "\n\n".join(parts) + "\n"


def _cell(description: str) -> tuple[str, str]:
    """The sentences of a description that a cell has room for, and the rest of them."""
    parts = re.split(r"(?<=[\w)`]{2}\.)\s+(?=[A-Za-z`])", description)
    shown = next((n for n in range(len(parts), 1, -1) if len(" ".join(parts[:n]).split()) <= CELL), 1)
    return " ".join(parts[:shown]), " ".join(parts[shown:])


def _rows(config: type[Frozen], place: str) -> list[tuple[str, str, str, str]]:
    """(path, type, default, description) of each field, those of nested configs behind the field that holds them."""
    schema = config.model_json_schema(mode="validation")
    (properties,) = (part["properties"] for part in schema.get("anyOf", [schema]) if "properties" in part)
    rows = []
    for name, field in config.model_fields.items():
        path, nested = f"{place}{name}", _configs(field.annotation)
        whole = field.annotation in nested
        if not whole:
            rows.append(
                (path, _type(properties.get(name, {})), _default(path, field), _prose(_description(config, name)))
            )
        if place or not nested:
            rows += [row for kind in nested for row in _rows(kind, f"{path}." if whole else f"{path}[].")]
    return rows


def _description(config: type[Frozen], name: str) -> str:
    """A field's description, or that of the base class in whose place it stands."""
    fields = [base.model_fields.get(name) for base in config.__mro__ if issubclass(base, Frozen)]
    descriptions = (field.description for field in fields if field and field.description)
    return next(descriptions, "The word that chooses this source." if name == "kind" else "")


def _configs(kind: Any) -> list[type[Frozen]]:
    """The configs in a type: itself, or those that it is a union or a tuple of."""
    if isinstance(kind, type) and not get_origin(kind):
        return [kind] if issubclass(kind, Frozen) else []
    parts = get_args(kind)[:1] if get_origin(kind) is Annotated else get_args(kind)
    return [member for part in parts for member in _configs(part)]


def _type(schema: dict[str, Any]) -> str:
    """A JSON schema in words."""
    if "anyOf" in schema or "oneOf" in schema:
        return ", or ".join(dict.fromkeys(_type(part) for part in schema.get("anyOf") or schema["oneOf"]))
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    kind = schema.get("type", "object")
    if kind == "array":
        items = schema.get("prefixItems") or [schema.get("items", {})]
        return f"list of {len(items) if len(items) > 1 else ''} {_type(items[0])}".replace("  ", " ")
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_type(schema['additionalProperties'])}"
    names = {"string": "text", "null": "`null`"}
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {schema[bound]:g}" for bound, sign in signs.items() if bound in schema]
    return " ".join([names.get(kind, kind), ", ".join(bounds)]).strip()


def _default(path: str, field: Any) -> str:
    """The value that most presets give, behind those of the others; the field's own where no preset decides it."""
    if path in ("name", "preset") or path.startswith("source") or "[]" in path:
        return "required" if field.is_required() else _code(field.get_default(call_default_factory=True))
    given = {preset: _code(_at(tree, path)) for preset, tree in _TREES.items()}
    counts = Counter(given.values())
    usual = next(value for value in counts if counts[value] == max(counts.values()))
    others = [(value, [preset for preset in given if given[preset] == value]) for value in counts if value != usual]
    named = [f"{value} in {', '.join(presets)}" for value, presets in others]
    return "; ".join([*named, f"else {usual}"]) if named else usual


_TREES = {preset: PipelineConfig.model_validate({"preset": preset}).model_dump(mode="json") for preset in PRESETS}


def _at(tree: Any, path: str) -> Any:
    for name in path.split("."):
        tree = tree[name]
    return tree


def _code(value: Any) -> str:
    """A value as JSON in a cell; a source as the word that names its kind."""
    return f"`{json.dumps(value, ensure_ascii=False, default=lambda source: source.kind)}`".replace("|", "\\|")


def _prose(text: str) -> str:
    """Text of a docstring or a description as Markdown in one line; fit for a cell."""
    return re.sub(r"``(.*?)``", r"`\1`", " ".join(text.split())).replace("|", "\\|")


def _command_line() -> str:
    commands = "".join(_command(name, command) for name, command in _commands("gensr", typer.main.get_command(app)))
    return HEAD.format("the help in flows/cli", "Command line", OVERVIEW) + commands


def _commands(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    """(name as typed, command) of each command that does something itself."""
    nested = getattr(command, "commands", None)
    for child, below in (nested or {}).items():
        yield from _commands(f"{name} {child}", below)
    if nested is None:
        yield name, command


def _command(name: str, command: Any) -> str:
    text, _, example = str(command.help).partition("Example: ")
    paragraphs = "".join(f"\n{_prose(paragraph)}\n" for paragraph in text.strip().split("\n\n"))
    shown = f"\n```\n{example.strip()}\n```\n" if example else ""
    rows = [_parameter(parameter) for parameter in command.params]
    table = "\n| option or argument | default | meaning |\n|---|---|---|\n" + "".join(rows) if rows else ""
    return f"\n## {name}\n{paragraphs}{shown}{table}"


def _parameter(parameter: Any) -> str:
    typed = ", ".join(parameter.opts) if parameter.param_type_name == "option" else ""
    value = "" if getattr(parameter, "is_flag", False) else parameter.metavar or parameter.name.upper()
    default = "required" if parameter.required else f"`{parameter.default}`" if parameter.default else ""
    return f"| `{f'{typed} {value}'.strip()}` | {default} | {_prose(parameter.help)} |\n"


if __name__ == "__main__":
    for file, text in written().items():
        (FOLDER / file).write_text(text, encoding="utf-8")
