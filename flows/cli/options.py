"""The options that give a command its config, and the config that they make."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.cli.assignments import paths
from flows.cli.config_tree import read_config
from gensr_model.config.data import FolderSource
from gensr_model.config.known_formats import FORMATS
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.config.presets import PRESETS
from gensr_model.errors import DataError


def _is_preset(given: str | None) -> str | None:
    if given is not None and given not in PRESETS:
        raise typer.BadParameter(f"{given!r} is no preset. Choose one of {', '.join(PRESETS)}.")
    return given


def _is_place(given: str | None) -> str | None:
    if given is not None and not given.strip():
        raise typer.BadParameter("the path is empty. Give the path of a folder.")
    return given


def _are_assignments(given: list[str] | None) -> list[str] | None:
    for one in given or ():
        field, sign, _ = one.partition("=")
        if not sign or not field.strip():
            raise typer.BadParameter(f"{one!r} is no assignment. Give a field and a value, such as train.epochs=3.")
    return given


Config = Annotated[
    str | None,
    typer.Option(
        "--config", "-c", envvar="GENSR_CONFIG", show_envvar=False, metavar="FILE",
        help="YAML or JSON file with the fields that differ from the preset, or JSON text.",
    ),
]  # fmt: skip
Data = Annotated[
    str | None,
    typer.Option(
        metavar="FOLDER", help="Folder with your raw files, or the word generated or download.", callback=_is_place
    ),
]
Format = Annotated[
    str | None,
    typer.Option(
        "--format", metavar="NAME", help=f"Format of the raw files: {', '.join(FORMATS)}, or module:NAME of your own.",
        autocompletion=lambda: list(FORMATS),
    ),
]  # fmt: skip
Preset = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help=f"Starting values of all fields: {', '.join(PRESETS)}.",
        callback=_is_preset, autocompletion=lambda: list(PRESETS),
    ),
]  # fmt: skip
Sets = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="FIELD=VALUE", help="One field by its path, such as train.epochs=3. May be repeated.",
        callback=_are_assignments, autocompletion=lambda: [f"{path}=" for path in paths()],
    ),
]  # fmt: skip


def config_tree(
    config: str | None, data: str | None, data_format: str | None, preset: str | None, sets: list[str] | None
) -> dict[str, Any]:
    """The parameter ``config`` of a flow. Raises ConfigError as ``read_config``."""
    return read_config(config, {"source": source(data), "format": data_format, "preset": preset}, sets or ())


def check_folder(tree: dict[str, Any], data: str | None) -> None:
    """Raise DataError where the config's source is a folder that does not exist; ``data`` is how it was typed."""
    folder = PipelineConfig.model_validate(tree).source
    if isinstance(folder, FolderSource) and not Path(folder.path).is_dir():
        if Path(folder.path).is_file():
            raise DataError(f"{data or folder.path}: is a file. Name its folder: {Path(folder.path).parent}")
        where = f"{data or folder.path}: there is no such folder, seen from {Path.cwd()}."
        raise DataError(f"{where} Name the folder of your raw files.")


def better(config: str | None, data: str | None, data_format: str | None, sets: list[str] | None) -> str:
    """The arguments of the same run with preset best."""
    given = [("--config", config), ("--data", data), ("--format", data_format)]
    given += [("--set", one) for one in sets or () if not one.startswith("preset=")]
    words = [word for option, value in given if value for word in (option, value)]
    return shlex.join(["run", *words, "--preset", "best"])


def with_format(tree: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """The config with a format, and the reason for the format where the config names none.

    The reason is a section that only one format has, or the names of the files in the folder.

    Raises DataError where the names of the files leave the format open.
    """
    section = next((name for name in FORMATS if name in tree), None)
    if section and "format" not in tree:
        return tree | {"format": section}, f" because the config has a section {section} (--format names another)"
    folder = PipelineConfig.model_validate(tree).source
    if "format" in tree or not isinstance(folder, FolderSource) or not Path(folder.path).is_dir():
        return tree, ""
    from tasks.ingest.ingest import format_of  # DuckDB and Prefect: seconds

    name, file = format_of(Path(folder.path))
    return tree | {"format": name}, f" because of {file} (--format names another)"


def source(data: str | None) -> str | None:
    """The config's ``source``, with a slash in a path."""
    return data if data is None or "/" in data or data in ("generated", "download") else f"./{data}"
