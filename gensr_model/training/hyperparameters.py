"""Which hyperparameters a point may set for a baseline."""

from __future__ import annotations

import inspect
from typing import Annotated, Any, get_type_hints

from pydantic import Field, NonNegativeInt

from gensr_model.baselines.base import Baseline
from gensr_model.config.training import TrainConfig

# Hyperparameters of the trainer and its samples. All others belong to the model.
OF_TRAINER = ("learning_rate", "weight_decay", "batch_size", "negatives")
MIN_HISTORY = "min_history"  # training leaves out recommendation samples with fewer events


def hyperparameters(model: type[Baseline]) -> dict[str, Any]:
    """The hyperparameters that a point may set, each with the pydantic type of its values.

    The smallest allowed number is the default if that is smaller, else 1 for an integer and 0 for another number.
    """
    fields = TrainConfig.model_fields
    known: dict[str, Any] = {name: Annotated[fields[name].annotation, fields[name]] for name in OF_TRAINER}
    known[MIN_HISTORY] = NonNegativeInt
    for each in model.__mro__:
        if "__init__" in vars(each) and issubclass(each, Baseline):
            parameters = inspect.signature(each).parameters.values()
            named = [p for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL) and p.name != "domain"]
            known = _types_of(each, named) | known
            if not any(
                p.kind == p.VAR_KEYWORD for p in parameters
            ):  # with it, the constructor passes unnamed values on
                break
    return known


def _types_of(model: type[Baseline], named: list[inspect.Parameter]) -> dict[str, Any]:
    try:
        hints = get_type_hints(model.__init__)
    except NameError:  # a name that only type checkers import: the types of its values are unknown
        return {p.name: Any for p in named}
    types = {p.name: hints.get(p.name, Any) for p in named}
    for p in named:
        if (kind := types[p.name]) in (int, float):
            least = min(int(kind is int), p.default if isinstance(p.default, int | float) else 0)
            types[p.name] = Annotated[kind, Field(ge=least, le=1 if p.name == "dropout" else None)]
    return types
