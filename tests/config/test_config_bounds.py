"""Values that would train nothing, or fail after hours, are refused with the field's name."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from gensr_model.config.pipeline import PipelineConfig

REFUSED: list[tuple[str, Any]] = [
    ("train.patience", 0),
    ("train.epochs", 0),
    ("train.batch_size", 0),
    ("train.checkpoint_every", 0),
    ("train.validations_per_epoch", 0),
    ("train.valid_samples", -1),
    ("train.learning_rate", 0),
    ("lightgcn.epochs", 0),
    ("full_ranking.epochs", 0),
    ("semantic_ids.vectors", "word2vec"),
    ("semantic_ids.codes", 1),
    ("semantic_ids.hidden", [0]),
    ("semantic_ids.steps", 0),
    ("evaluation.max_test_samples", -1),
    ("evaluation.batch_size", 0),
    ("statistics.confidence", 95),
    ("statistics.bootstrap_samples", 0),
    ("analysis.gradient_every", -1),
    ("ingest.earliest", "soon"),
    ("seed", -1),
    ("name", "my/shoes"),
    ("name", ".."),
    ("name", "a:b"),
    ("name", ""),
    ("name", " \t"),
    ("name", " "),
    ("name", "a?b"),
    ("name", "a@b"),
    ("name", "空" * 60),
    ("prepare.until", "soon"),
    ("prepare.until", "2023-13-01"),
    ("ingest.max_undescribed_share", 1.5),
    ("name", "a\nb"),
    ("name", "a\n"),
    ("name", "a\x7f"),
    ("name", "n" * 101),
    ("name", "n" * 300),
    ("train.learning_rate", float("inf")),
    ("model.tau", float("nan")),
    ("model.max_history", 0),
    ("model.view_dropout", 1),
    ("rerank.seeds", [-1]),
    ("rerank.seeds", [0, 0]),
    ("ablation.seeds", [0, -1]),
    ("sweep.tau", [0.0]),
    ("sweep.beta", [0.1, -0.1]),
]


@pytest.mark.parametrize(("field", "value"), REFUSED)
def test_a_value_without_meaning_is_refused_by_name(field: str, value: Any) -> None:
    section, _, name = field.rpartition(".")
    given = {section: {name: value}} if section else {name: value}
    with pytest.raises(ValidationError) as refused:
        PipelineConfig.model_validate(given)
    path = tuple(field.split("."))
    assert {error["loc"][: len(path)] for error in refused.value.errors()} == {path}


@pytest.mark.parametrize(
    ("given", "widths"),
    [
        ({"model": {"view_heads": 3}}, "lightgcn.dim (64) and model.backbone.d_model (64)"),
        ({"model": {"view_heads": 3, "cf_view": False}}, "model.backbone.d_model (64)"),
        ({"model": {"view_heads": 3, "backbone": {"name_or_path": "flan"}}}, "lightgcn.dim (64)"),
        ({"lightgcn": {"dim": 6}}, "lightgcn.dim (6)"),
    ],
)
def test_heads_that_do_not_divide_a_view_are_refused(given: dict[str, Any], widths: str) -> None:
    with pytest.raises(ValidationError) as refused:
        PipelineConfig.model_validate(given)
    (error,) = refused.value.errors()
    heads = given.get("model", {}).get("view_heads", 4)
    assert f"model.view_heads is {heads}, which does not divide {widths}. " in error["msg"]


def test_heads_need_not_divide_a_width_that_no_view_has() -> None:
    pretrained = {"view_heads": 5, "cf_view": False, "backbone": {"name_or_path": "flan"}}
    assert PipelineConfig.model_validate({"model": pretrained}).model.view_heads == 5


@pytest.mark.parametrize("name", ['it\'s "x"', "50%20 #1", "[x]*; a&b=c", "naïve 靴", "a..", "~", "$HOME"])
def test_names_that_mlflow_and_the_registry_take_are_kept(name: str) -> None:
    assert PipelineConfig.model_validate({"name": name}).name == name


@pytest.mark.parametrize(
    ("given", "until"),
    [
        ("2023-05-23", "2023-05-23T00:00:00.000+00:00"),
        ("2023-05-23T00:00+08:00", "2023-05-23T00:00:00.000+08:00"),
        (None, None),
    ],
)
def test_a_time_without_zone_is_utc(given: str | None, until: str | None) -> None:
    assert PipelineConfig.model_validate({"prepare": {"until": given}}).prepare.until == until
