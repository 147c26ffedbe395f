"""What Prefect's server takes as parameters is what the config takes, and it refuses the rest at once."""

from __future__ import annotations

from typing import Any

import pytest
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools.validation import ValidationError, validate
from pydantic import ValidationError as ConfigValidationError

from flows.full_pipeline import full_pipeline
from gensr_model.config.pipeline import PipelineConfig

SCHEMA = parameter_schema(full_pipeline).model_dump_for_openapi()
TAKEN: list[dict[str, Any]] = [
    {},
    {"source": "generated"},
    {"source": "download", "format": "kuaisar"},
    {"source": "/data/mine", "name": "my shoes"},
    {"source": "/data/mine", "format": "my_package.clicks:FORMAT"},
    {"source": {"kind": "folder", "path": "mine"}},
    {"source": {"kind": "generated", "users": 40}},
    {"train": {"epochs": 3}, "studies": {"rerank": True}},
    {"overrides": {"train": {"epochs": 3}, "studies": {"rerank": True}}},
    {"overrides": {"rerank": {"saved_ranks": ["ranks.parquet"]}}},
    {"overrides": {}},
    {"format": "logs", "logs": {"events": {"columns": {"user": "who"}}, "behaviors": {"buy": "rec"}}},
    {"format": "logs", "logs": {"items": {"columns": {"category": ["a", "b"]}}, "split": {"by": "days", "days": 3}}},
    {"overrides": {"logs": {"split": {"time_share": [0.6, 0.2, 0.2]}}}},
]
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"source": "mine"}, "config.source"),
    ({"source": ""}, "config.source"),
    ({"source": {"kind": "folder"}}, "config.source"),
    ({"source": {"kind": "folder", "path": " "}}, "config.source"),
    ({"name": "my/shoes"}, "config.name"),
    ({"name": "a:b"}, "config.name"),
    ({"name": ""}, "config.name"),
    ({"name": "  "}, "config.name"),
    ({"name": "a?b"}, "config.name"),
    ({"name": "a\nb"}, "config.name"),
    ({"name": "a\n"}, "config.name"),
    ({"name": "n" * 300}, "config.name"),
    ({"preset": "huge"}, "config.preset"),
    ({"format": "kuaisr"}, "config.format"),
    ({"format": "my_package.clicks:"}, "config.format"),
    ({"trian": {}}, "config"),
    ({"train": {"epoch": 3}}, "config.train"),
    ({"overrides": {"trian": {}}}, "config.overrides"),
    ({"overrides": {"preset": "best"}}, "config.overrides"),
    ({"overrides": {"train": {"epoch": 3}}}, "config.overrides.train"),
    ({"overrides": {"train": {"epochs": 0}}}, "config.overrides.train.epochs"),
    ({"logs": {"events": {"colums": {}}}}, "config.logs.events"),
    ({"logs": {"events": {"columns": {"usr": "u"}}}}, "config.logs.events.columns"),
    ({"logs": {"events": {"time_unit": "minutes"}}}, "config.logs.events.time_unit"),
    ({"logs": {"events": {"name": "a/b"}}}, "config.logs.events.name"),
    ({"logs": {"behaviors": {"click": "yes"}}}, "config.logs.behaviors.click"),
    ({"logs": {"split": {"days": 0}}}, "config.logs.split.days"),
]


@pytest.mark.parametrize("config", TAKEN, ids=str)
def test_what_the_config_takes_the_server_and_the_flow_take(config: dict[str, Any]) -> None:
    validate({"config": config}, SCHEMA, raise_on_error=True)
    expected = PipelineConfig.model_validate(config)
    assert full_pipeline.validate_parameters({"config": config}) == {"config": expected}


@pytest.mark.parametrize(("config", "field"), REFUSED, ids=str)
def test_what_the_config_refuses_the_server_refuses_by_field(config: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigValidationError):
        PipelineConfig.model_validate(config)
    with pytest.raises(ValidationError, match=f"for field '{field}'"):
        validate({"config": config}, SCHEMA, raise_on_error=True)


def test_the_form_offers_the_known_formats() -> None:
    config = next(iter(SCHEMA["definitions"][name] for name in SCHEMA["definitions"] if name == "PipelineConfig"))
    known, elsewhere = config["properties"]["format"]["anyOf"]
    assert known["enum"] == ["amazon", "kuaisar", "logs"]
    assert "pattern" in elsewhere
