"""``gensr init``: writes a config file from the result of the check, to read, change and run."""

from __future__ import annotations

import functools
import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml

from flows.cli import options
from flows.cli.check import describe, look, prepare_environment
from flows.cli.config_file import read_tree
from gensr_model.config.base import Proposal, overlay
from gensr_model.config.data import FolderSource
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.errors import ConfigError, DataError

if TYPE_CHECKING:
    from tasks.core.dataset_format import DatasetFormat

_PLAIN = re.compile(r"(?!(?:true|false|null|yes|no|on|off)$)[A-Za-z_./~][\w./-]*", re.I | re.ASCII)
_BLANK = "???"  # a value that only a person knows


def init(
    data: Annotated[str, typer.Option(metavar="FOLDER", help="Folder with your raw files.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="File to write.")] = Path("gensr.yaml"),
    config: options.Config = None,
    data_format: options.Format = None,
    preset: options.Preset = None,
    sets: options.Sets = None,
) -> None:
    """Write a commented config file from what the check detects in your data.

    The file has columns, event types and the split as detected. Correct them there. No file is overwritten. A required
    column or event type that nobody knows is ??? in the file; the exit status is then 1. With --config it goes on from
    such a file, in which some ??? are filled in.

    Example: gensr init --data /data/mine && gensr run --config gensr.yaml
    """
    if out.exists():
        raise ConfigError(
            f"{out}: exists already. Name another file with --out, or remove this one. To go on from what is filled in "
            f"there, add --config {out}."
        )
    prepare_environment()
    from tasks.core.dataset_format import dataset_format

    given = None if config is None else json.dumps(_without_blanks(read_tree(config)))
    tree = options.config_tree(given, data, data_format, preset, sets)  # refuses a secret before any output repeats it
    if data_format is None and not isinstance(PipelineConfig.model_validate(tree).source, FolderSource):
        raise ConfigError(f"--data {data}: say which --format the files have")
    tree, _ = options.with_format(tree)
    wanted = PipelineConfig.model_validate(tree)
    entry = dataset_format(wanted.format)
    result = _understood(wanted, entry)
    first = {"name": wanted.name, "format": wanted.format, "source": options.source(data), "preset": wanted.preset}
    made, notes = entry.explicit(result, wanted) if entry.explicit else ({}, {})
    whole = overlay(first | tree, first | made)
    for path, note in result["blanks"].items():
        notes[path] = note
        *sections, name = path.split(".", 2 if path.startswith("logs.behaviors.") else -1)
        functools.reduce(lambda at, each: at.setdefault(each, {}), sections, whole)[name] = _BLANK
    lines = [*_head(result, data, out), *_yaml(whole, notes)]
    with out.open("x", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
    if result["blanks"]:
        raise DataError(
            f"{out} is written, and not complete. {result['problem']} In the file replace the ??? of "
            f"{', '.join(result['blanks'])}, then: gensr check --config {out}"
        )
    typer.echo(f"{out}: {describe(wanted, result)}. Read it, then: gensr check --config {out}")
    if result["problem"]:
        typer.echo(f"A run could not work yet: {result['problem']}")


def _without_blanks(tree: Any) -> Any:
    """The config without the values that nobody has filled in."""
    if not isinstance(tree, dict):
        return tree
    return {name: _without_blanks(value) for name, value in tree.items() if value != _BLANK}


def _understood(config: PipelineConfig, entry: DatasetFormat) -> dict[str, Any]:
    """The result of the check, or an outline of the files. ``blanks`` names the values that only a person knows."""
    from tasks.ingest.ingest import find_source  # DuckDB and Prefect: seconds

    try:
        return look(config) | {"blanks": {}}
    except DataError as error:
        if not error.blanks or entry.outline is None:
            raise
        with tempfile.TemporaryDirectory(prefix="gensr-init-") as temp:
            result = entry.outline(find_source.fn(config).path, config, Path(temp))
        return result | {"blanks": result["blanks"] | error.blanks, "problem": error.full_message, "warnings": []}


def _head(result: dict[str, Any], data: str, out: Path) -> list[str]:
    lines = [
        f"Made by `gensr init --data {data}`: what was understood, to be corrected.",
        f"See what it means: gensr check --config {out}",
        f"Train and compare: gensr run --config {out}",
        *([f"A run could not work yet: {result['problem']}"] if result["problem"] else []),
        *result["warnings"],
    ]
    return [f"# {_one_line(line)}" for line in lines]


def _yaml(tree: dict[str, Any], notes: dict[str, str], place: str = "", depth: int = 0) -> Iterator[str]:
    for name, value in tree.items():
        path = f"{place}{name}"
        behind = f"  # {_one_line(notes[path])}" if notes.get(path) else ""
        start = f"{'  ' * depth}{_scalar(name)}:"
        if isinstance(value, Proposal):
            yield f"{'  ' * depth}# {start.lstrip()} {_scalar(str(value))}{behind}"
        elif isinstance(value, dict) and value:
            yield f"{start}{behind}"
            yield from _yaml(value, notes, f"{path}.", depth + 1)
        elif isinstance(value, list | tuple):
            yield f"{start} [{', '.join(map(_scalar, value))}]{behind}"
        else:
            yield f"{start} {_scalar(value)}{behind}"


def _scalar(value: Any) -> str:
    if isinstance(value, str) and (value == _BLANK or _PLAIN.fullmatch(value)):
        return value
    style = '"' if isinstance(value, str) else None
    dumped = yaml.safe_dump(value, default_style=style, default_flow_style=True, allow_unicode=True, width=10**9)
    return dumped.removesuffix("...\n").strip()


def _one_line(text: str) -> str:
    """The text of a comment on one line, because a line end would cut the comment."""
    return "".join(letter if letter.isprintable() else " " for letter in text)
