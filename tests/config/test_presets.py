"""What the named presets are."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from gensr_model.config.pipeline import PipelineConfig, with_changes
from gensr_model.config.presets import PRESETS
from gensr_model.config.studies import AblationConfig
from gensr_model.config.variants import DEPARTURE_VARIANTS, USUAL_VARIANTS, VARIANTS
from gensr_model.evaluation.reference import REFERENCES


def test_best_is_laptop_with_the_departures_that_its_ablation_takes_away() -> None:
    best = PipelineConfig.model_validate({"preset": "best"})
    assert set(DEPARTURE_VARIANTS) <= set(best.ablation.variants) <= set(VARIANTS)
    plain = best
    for variant in DEPARTURE_VARIANTS:
        without = with_changes(plain, VARIANTS[variant].changes)
        assert without != plain, f"{variant} is not on"
        plain = without
    laptop = PipelineConfig.model_validate({"preset": "laptop"}).model_dump()
    rest = {
        (section, field)
        for section in laptop
        if isinstance(laptop[section], dict)
        for field, value in laptop[section].items()
        if plain.model_dump()[section][field] != value
    }
    assert rest == {
        ("model", "answer_loss"),
        ("model", "departures"),  # the share of the searches, which are off here
        ("train", "learning_rate"),
        ("train", "epochs"),
        ("full_ranking", "departures"),
        ("full_ranking", "batch_size"),
        ("full_ranking", "epochs"),
        ("ablation", "variants"),
    }


def test_the_demo_compares_with_every_reference() -> None:
    assert set(REFERENCES) < set(PipelineConfig.model_validate({"preset": "demo"}).rerank.systems)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_sets_only_fields_that_exist_and_has_all_departures_or_none(preset: str) -> None:
    config = PipelineConfig.model_validate({"preset": preset})
    assert config.preset == preset
    off = [variant for variant in DEPARTURE_VARIANTS if with_changes(config, VARIANTS[variant].changes) == config]
    assert off == ([] if preset in ("best", "demo") else list(DEPARTURE_VARIANTS))
    assert [v for v in USUAL_VARIANTS if with_changes(config, VARIANTS[v].changes) == config] == ["gensr"]


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({}, "generated-amazon"),
        ({"format": "kuaisar"}, "generated-kuaisar"),
        ({"source": {"kind": "folder", "path": "mine"}}, "folder-amazon"),
        ({"source": {"kind": "download"}, "format": "kuaisar"}, "download-kuaisar"),
        ({"name": "mine", "format": "kuaisar"}, "mine"),
    ],
)
def test_data_without_a_name_are_called_by_where_they_come_from(given: dict[str, Any], name: str) -> None:
    assert PipelineConfig.model_validate(given).name == name


def test_the_schema_lists_the_variants_and_another_name_is_refused() -> None:
    schema = AblationConfig.model_json_schema()["properties"]["variants"]
    assert schema["items"]["enum"] == list(VARIANTS)
    assert all(variant.title in schema["description"] for variant in VARIANTS.values())
    with pytest.raises(ValidationError, match=r"'no_view' is no variant\. Choose one of gensr, no_cf_view"):
        AblationConfig.model_validate({"variants": ["no_view"]})
