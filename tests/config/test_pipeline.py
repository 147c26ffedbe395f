"""The tree of the config: its size, its order, and the overrides that the form sends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

import pytest
from pydantic import BaseModel, ValidationError

from gensr_model.config.pipeline import SECTIONS, PipelineConfig, merge_overrides
from gensr_model.config.presets import PRESETS

LEAVES = 150  # no more than this: a new setting takes the place of one that nobody sets
LEAVES_OF_LOGS = 59
LEAVES_OF_RECOMMEND = 10
FORM = PipelineConfig.model_json_schema()


def leaves(model: type[BaseModel], name: str = "") -> Iterator[str]:
    """Dotted names of what can be set; a tuple is one, and so is what may be of several kinds."""
    for field, info in model.model_fields.items():
        kind = info.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from leaves(kind, f"{name}{field}.")
        else:
            yield f"{name}{field}"


def shown(schema: dict[str, Any]) -> int:
    """Fields that Prefect's form shows before anybody clicks: it unfolds ``properties``, and nothing else."""
    if "$ref" in schema:
        return shown(FORM["$defs"][schema["$ref"].rsplit("/", 1)[1]])
    return sum(map(shown, schema["properties"].values())) if "properties" in schema else 1


def test_there_are_no_more_settings_than_there_were() -> None:
    names = list(leaves(PipelineConfig))
    assert len(names) == len(set(names))
    own = [name for name in names if name.startswith("logs.")]  # a person maps their own logs, no preset does
    batch = [name for name in names if name.startswith("recommend.")]  # a deployment of its own: no preset sets them
    assert len(names) - len(own) - len(batch) <= LEAVES
    assert len(own) <= LEAVES_OF_LOGS
    assert len(batch) <= LEAVES_OF_RECOMMEND


def test_what_a_person_sets_comes_first_and_the_form_shows_no_more_than_twelve_fields() -> None:
    first = ["name", "format", "source", "preset", "seed", "studies"]
    assert list(PipelineConfig.model_fields)[: len(first)] == first
    assert list(FORM["properties"]) == [*first, "overrides"]
    assert shown(FORM) <= 12


def test_the_form_sends_no_default_that_would_undo_a_preset() -> None:
    """It sends the default of every field that it shows, and a preset must not mean anything else by such a field."""
    for preset, sections in PRESETS.items():
        assert not sections.keys() & FORM["properties"].keys(), preset
    assert "default" not in FORM["properties"]["overrides"]
    assert "default" not in FORM["properties"]["name"], "the form would call all data by the demo's name"


def test_overrides_mean_the_same_as_sections() -> None:
    sections = {"train": {"epochs": 7}, "model": {"text": {"title_tokens": 9}}}
    direct = PipelineConfig.model_validate({"preset": "laptop", **sections})
    assert PipelineConfig.model_validate({"preset": "laptop", "overrides": sections}) == direct
    assert merge_overrides({"overrides": sections, "seed": 1}) == {"seed": 1, **sections}
    both = {"train": {"epochs": 3, "patience": 4}, "overrides": sections}
    train = PipelineConfig.model_validate(both).train
    assert (train.epochs, train.patience) == (7, 4), "the overrides are laid over the sections"
    assert PipelineConfig.model_validate({"overrides": None}) == PipelineConfig()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"overrides": {"train": {"epoch": 3}}}, "train.epoch\n  Extra inputs are not permitted"),
        ({"overrides": {"train": 3}}, "train\n  Input should be a valid dictionary"),
        ({"train": 3}, "train\n  Input should be a valid dictionary"),
        ({"overrides": {"trian": {}}}, "overrides.trian is no section. Choose one of studies, logs"),
        ({"overrides": {"preset": "best"}}, "overrides.preset is no section"),
        ({"overrides": "train"}, "overrides is 'train'. Give an object of sections"),
        ({"overrides": []}, "overrides is []. Give an object of sections"),
        ({"overrides": False}, "overrides is False. Give an object of sections"),
        ({"overrides": ""}, "overrides is ''. Give an object of sections"),
        ({"preset": ["demo"]}, "preset\n  Input should be 'demo'"),
    ],
)
def test_an_error_names_the_field(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as refused:
        PipelineConfig.model_validate(given)
    assert said in str(refused.value)


def test_every_preset_is_in_the_form() -> None:
    assert get_args(PipelineConfig.model_fields["preset"].annotation) == tuple(PRESETS)
    assert all(sections.keys() <= SECTIONS.keys() for sections in PRESETS.values())
