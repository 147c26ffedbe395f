"""The systems by name, and checks of the config's fields about them."""

from __future__ import annotations

import importlib
import inspect
import json
import math
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import ConfigDict, TypeAdapter, ValidationError

from gensr_model.baselines.base import Baseline, BaselineSpec, Grid
from gensr_model.baselines.collm import CoLLM
from gensr_model.baselines.registry import BASELINES, LEARNING, WRITES_WORDS
from gensr_model.baselines.tiger import LEVELS, TIGER
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.errors import ConfigError
from gensr_model.evaluation.reference import REFERENCES
from gensr_model.reporting.model_names import MODELS as MODEL_TITLES
from gensr_model.semantic_ids.vectors import require_t5
from gensr_model.training.hyperparameters import hyperparameters
from tasks.core.dataset_format import dataset_format
from tasks.train.finetune import MODELS

# Config fields to tune for GenSR and the two-head model. None leaves the config's value.
OURS: dict[str, Grid] = {
    "gensr": {"train.learning_rate": (None, 3e-3, 3e-4), "train.weight_decay": (None, 0.1), "model.beta": (None, 0.01)},
    "two_head": {"train.learning_rate": (None, 3e-3, 3e-4), "train.weight_decay": (None, 0.1)},
}


_STRICT = ConfigDict(strict=True, allow_inf_nan=False, arbitrary_types_allowed=True)


def every_system() -> tuple[str, ...]:
    """Names of all systems, in the order of the table."""
    return (*REFERENCES, *(name for name, spec in BASELINES.items() if spec.reranks), *MODELS[::-1])


def title(name: str) -> str:
    """The system's name in tables."""
    return MODEL_TITLES[name] if name in MODEL_TITLES else find_baseline(name).title


def block(name: str) -> str:
    """The system's group in the paper's table."""
    if name in REFERENCES:
        return "reference"
    return "joint" if name in MODELS else find_baseline(name).block


def find_baseline(name: str, named_in: str = "rerank.systems") -> BaselineSpec:
    """A registered baseline, or a ``Baseline`` named as ``module:Class``. Raises ConfigError where there is none."""
    if name in BASELINES:
        return BASELINES[name]
    module, _, attribute = name.partition(":")
    if not attribute:
        known = ", ".join((*REFERENCES, *BASELINES, *MODELS[::-1]))
        raise ConfigError(f"{named_in}: {name!r} is no system. Choose one of {known}, or give module:Class.")
    if not module or module.startswith("."):
        raise ConfigError(f"{named_in}: {name!r} lacks the whole name of its module. Give module:Class.")
    try:
        loaded = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"{named_in}: {name!r} cannot be imported: {error}. Install its module, or correct the name."
        ) from error
    if isinstance(loaded, BaselineSpec):
        return loaded
    if not (isinstance(loaded, type) and issubclass(loaded, Baseline)):
        raise ConfigError(
            f"{named_in}: {name!r} is no Baseline. Name a class that extends Baseline in gensr_model/baselines/base.py."
        )
    return BaselineSpec(loaded, attribute, "of your own", LEARNING)


def spec_at(config: PipelineConfig, name: str) -> BaselineSpec:
    """The baseline with the values of ``rerank.points`` in its grid."""
    spec = find_baseline(name)
    given = config.rerank.points.get(name, {})
    return spec._replace(grid=spec.grid | {field: (value,) for field, value in given.items()})


def check_points(config: PipelineConfig) -> None:
    """Raise ConfigError where ``rerank.points`` names no baseline, no hyperparameter of it, or no valid value."""
    for name, point in config.rerank.points.items():
        if name in (*REFERENCES, *MODELS):
            raise ConfigError(
                f"rerank.points.{name}: only baselines have points. Set the hyperparameters of "
                f"{title(name)} in the other sections."
            )
        spec = find_baseline(name, "rerank.points")
        known = hyperparameters(spec.model)
        for field, value in point.items():
            if field not in known:
                raise ConfigError(
                    f"rerank.points.{name}: {field!r} is no hyperparameter. Choose one of {', '.join(sorted(known))}."
                )
            if wrong := _wrong_value(spec, field, known[field], value):
                raise ConfigError(f"rerank.points.{name}.{field}: {wrong}")


def _wrong_value(spec: BaselineSpec, field: str, kind: Any, value: Any) -> str:
    """Why a hyperparameter cannot have a value. Empty where it can."""
    if get_origin(kind) is Literal:
        valid = isinstance(value, str) and value in get_args(kind)
        return "" if valid else f"{spec.title} has no {value!r}; it has {', '.join(get_args(kind))}"
    usual = spec.grid.get(field, ("",))[0]
    if isinstance(value, list) and isinstance(usual, tuple) and len(value) != len(usual):
        return f"{value} has {len(value)} values, expected {len(usual)} as in {list(usual)}"
    try:  # JSON has lists in place of tuples
        TypeAdapter(kind, config=_STRICT).validate_json(json.dumps(value))
    except ValidationError as error:
        return f"{value!r} does not fit: {error.errors()[0]['msg']}"
    return ""


def check_trials(config: PipelineConfig, names: tuple[str, ...]) -> None:
    """Raise ConfigError where a grid has fewer points than ``rerank.trials``: budgets would differ.

    A grid that ``rerank.points`` narrows may have fewer points.
    """
    grids = OURS | {name: find_baseline(name).grid for name in names if name not in (*REFERENCES, *MODELS)}
    size = {name: math.prod(map(len, grids[name].values())) for name in names if name in grids}
    smallest = min(size, key=lambda name: size[name], default="")
    if smallest and size[smallest] < config.rerank.trials:
        raise ConfigError(
            f"rerank.trials is {config.rerank.trials}, but the grid of {title(smallest)} has only "
            f"{size[smallest]} points, and every system gets the same number of trials. Set "
            f"rerank.trials to at most {size[smallest]}."
        )


def check_names(names: tuple[str, ...], named_in: str = "rerank.systems") -> None:
    """Raise ConfigError for an unknown name, before any training."""
    for name in names:
        if name not in (*REFERENCES, *MODELS):
            find_baseline(name, named_in)
    if len(set(names)) < len(names):
        raise ConfigError(f"{named_in} names a system twice: {', '.join(names)}. Name each system once.")


def check_needs(config: PipelineConfig, names: tuple[str, ...]) -> None:
    """Raise ConfigError where a baseline would get other codes or CF vectors than it can read."""
    for name in names:
        if name in (*REFERENCES, *MODELS):
            continue
        spec, ids = spec_at(config, name), config.semantic_ids
        if issubclass(spec.model, TIGER) and ids.levels != LEVELS - 1:
            raise ConfigError(
                f"semantic_ids.levels is {ids.levels}, but {spec.title} reads {LEVELS - 1} codes and "
                f"a number. Set semantic_ids.levels to {LEVELS - 1}."
            )
        folder = Path(ids.vectors)
        if "codes" in spec.model.needs and (folder.is_absolute() or folder.is_dir()):
            require_t5(ids.vectors)
        default = inspect.signature(CoLLM).parameters["cf_dim"].default
        for dim in spec.grid.get("cf_dim", (default,)) if issubclass(spec.model, CoLLM) else ():
            if dim != config.lightgcn.dim:
                raise ConfigError(
                    f"{spec.title} reads a CF table of {dim} dimensions, but lightgcn.dim is "
                    f"{config.lightgcn.dim}. Set rerank.points.{name}.cf_dim to {config.lightgcn.dim}."
                )


def not_made(config: PipelineConfig, name: str) -> str | None:
    """Why a system cannot use the format's texts. None where it can."""
    facts = dataset_format(config.format).facts
    if name in WRITES_WORDS and facts.anonymised is not None:
        return f"{title(name)} is not made of {facts.title}: {facts.anonymised}"
    return None
