"""The parameter ``config`` of a flow, from a command's file or text, options and ``--set``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from flows.cli.assignments import assigned
from flows.cli.config_file import read_tree
from gensr_model.config.base import overlay
from gensr_model.config.data import FolderSource
from gensr_model.config.known_formats import FORMATS, lacks_order
from gensr_model.config.pipeline import PipelineConfig, merge_overrides
from gensr_model.config.remote_sources import SqlSource
from gensr_model.errors import ConfigError
from tasks.core.error_log import wrong_fields


def read_config(given: str | None, options: dict[str, Any] | None = None, sets: Sequence[str] = ()) -> dict[str, Any]:
    """The config of a command, as a deployment takes it: with the types of the schema and absolute paths.

    Args:
        given: a YAML or JSON file, or JSON text; None for nothing.
        options: fields that have options of their own; None is an option that was not given. They override ``given``.
        sets: assignments (``train.epochs=3``), which override both; later ones override earlier ones.

    Raises:
        ConfigError: names the field, or the file and line.
    """
    tree = read_tree(given)
    try:
        tree = merge_overrides(tree)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    for over in ({name: value for name, value in (options or {}).items() if value is not None}, *map(assigned, sets)):
        tree = overlay(tree, over)
    try:
        config = PipelineConfig.model_validate(tree)
    except ValidationError as error:
        file = "" if given is None or given.lstrip().startswith("{") else f" {given} with the command's options"
        raise ConfigError(f"the config{file} does not fit docs/reference/config.md:\n{wrong_fields(error)}") from error
    _check_imports(tree, config)
    return overlay(_typed(tree, config.model_dump(mode="json")), _absolute_paths(config))


def _typed(given: Any, read: Any) -> Any:
    """The given tree with each value as the config read it: ``"3"`` for a number is 3, for the server too."""
    if isinstance(given, dict) and isinstance(read, dict):
        return {name: _typed(value, read.get(name, value)) for name, value in given.items()}
    return given if isinstance(read, dict) else read  # a source given as one word stays a word


def _check_imports(given: dict[str, Any], config: PipelineConfig) -> None:
    """Raise ConfigError for a format or system that a run could not import or use. Names in presets are known."""
    if config.format not in FORMATS:
        from tasks.core.dataset_format import dataset_format  # Great Expectations: seconds

        if reason := lacks_order(dataset_format(config.format).facts, config.prepare.same_time):
            raise ConfigError(reason)
    if {"systems", "points"} & given.get("rerank", {}).keys():
        from tasks.compare.names import check_names, check_points  # torch: seconds

        check_names(config.rerank.systems)
        check_points(config)


def _absolute_paths(config: PipelineConfig) -> dict[str, Any]:
    """The config with absolute paths, because the worker runs in another folder."""
    changes: dict[str, Any] = {}
    if isinstance(config.source, FolderSource):
        changes["source"] = _absolute(config.source.path)
    if isinstance(config.source, SqlSource) and (file := config.source.file):
        changes["source"] = {"url": config.source.url.removesuffix(file) + _absolute(file)}
    backbone, vectors = config.model.backbone.name_or_path, config.semantic_ids.vectors
    if backbone and (folder := _model_folder("model.backbone.name_or_path", backbone)):
        changes["model"] = {"backbone": {"name_or_path": folder}}
    if "/" in vectors and (folder := _model_folder("semantic_ids.vectors", vectors)):  # else tfidf or cf
        changes["semantic_ids"] = {"vectors": folder}
    if paths := config.recommend.paths():
        changes["recommend"] = {field: before + _absolute(path) for field, (before, path) in paths.items()}
    if config.rerank.saved_ranks:
        files = [file.model_dump(mode="json") for file in config.rerank.saved_ranks]
        changes["rerank"] = {"saved_ranks": [file | {"path": _absolute(file["path"])} for file in files]}
    return changes


def _model_folder(field: str, given: str) -> str | None:
    """The absolute path of a model's folder. None for a name on the hub. Raises ConfigError for another path."""
    if Path(given).expanduser().is_dir():
        return _absolute(given)
    if given.startswith(("/", ".", "~")):
        raise ConfigError(f"{field}: {given!r} is no folder, seen from {Path.cwd()}. Name the folder of a T5.")
    return None


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().resolve())
