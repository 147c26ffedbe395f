"""The whole configuration: one tree of frozen pydantic models, with named presets.

``PipelineConfig`` is the parameter of every flow. A section that is not given comes from the preset. A section that is
given in part (``{"train": {"epochs": 3}}``) is laid over the preset's values. After validation every field is filled,
so a config written to JSON and read back is the same config.
"""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import Field, GetJsonSchemaHandler, field_validator, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from gensr_model.config.base import Frozen, overlay
from gensr_model.config.data import GeneratedSource, IngestConfig, PrepareConfig, Source, source_kind
from gensr_model.config.evaluation import EvaluationConfig, RetrainConfig, StatisticsConfig
from gensr_model.config.known_formats import DEFAULT, FORMATS, Format, lacks_order, short_name
from gensr_model.config.logs import LogsConfig
from gensr_model.config.model import FullRankingConfig, LightGCNConfig, ModelConfig, SemanticIdsConfig
from gensr_model.config.presets import PRESETS
from gensr_model.config.secrets import refuse_secrets
from gensr_model.config.studies import AblationConfig, AnalysisConfig, RerankConfig, StudiesConfig, SweepConfig
from gensr_model.config.training import TrainConfig

OVERRIDES = "overrides"
# MLflow takes no other name for a model, nor finds one with @ by its alias; the name is a part of file names. The
# pattern means the same in Python and in ECMAScript: its end is no `$`, which in Python also matches before a last
# newline.
_NAME = r"^(?=.*\S)[^/:?@\x00-\x1f\x7f-\x9f\u2028\u2029]+(?![\s\S])"
_NAME_BYTES = 160  # file systems allow 255, and the longest name of a folder adds 70


def _usual_name(given: dict[str, Any]) -> str:
    return f"{source_kind(given.get('source'))}-{short_name(str(given.get('format', DEFAULT)))}"


class PipelineConfig(Frozen):
    """Everything that decides a run: first what a person sets, then the sections, whose values the preset gives."""

    name: str = Field(  # a factory, as below: the form would call all data what the demo's are called
        default_factory=lambda: _usual_name({}),
        max_length=100,
        json_schema_extra={"pattern": _NAME},
        description="what tables, runs and the model call the data; left out: the kind of source and the format",
    )
    format: Format = Field(
        DEFAULT, description="format of the raw files; module:NAME names a DatasetFormat outside the package"
    )
    source: Source = Field(
        default_factory=GeneratedSource,
        description="generated, download, the path of the folder with the raw files, which contains a /, or a URL; "
        "s3 and sql have more fields",
    )
    preset: Literal["demo", "laptop", "best", "small", "paper"] = Field(
        "demo",
        description="demo, laptop: a small T5 from scratch; best: laptop with our departures from the paper; "
        "small: the first layers of a pretrained flan-t5-small; paper: flan-t5-base",
    )
    seed: int = Field(0, ge=0, description="seed of data, candidates and training")
    # Factories, not defaults: the JSON schema that Prefect shows as a form then carries no default for a section,
    # so that choosing another preset in the form is not undone by the demo's values.
    studies: StudiesConfig = Field(default_factory=StudiesConfig)
    logs: LogsConfig = Field(default_factory=LogsConfig)
    ingest: IngestConfig = Field(default_factory=IngestConfig)
    prepare: PrepareConfig = Field(default_factory=PrepareConfig)
    lightgcn: LightGCNConfig = Field(default_factory=LightGCNConfig)
    model: ModelConfig = Field(default_factory=ModelConfig)
    train: TrainConfig = Field(default_factory=TrainConfig)
    full_ranking: FullRankingConfig = Field(default_factory=FullRankingConfig)
    semantic_ids: SemanticIdsConfig = Field(default_factory=SemanticIdsConfig)
    evaluation: EvaluationConfig = Field(default_factory=EvaluationConfig)
    statistics: StatisticsConfig = Field(default_factory=StatisticsConfig)
    analysis: AnalysisConfig = Field(default_factory=AnalysisConfig)
    rerank: RerankConfig = Field(default_factory=RerankConfig)
    ablation: AblationConfig = Field(default_factory=AblationConfig)
    sweep: SweepConfig = Field(default_factory=SweepConfig)
    retrain: RetrainConfig = Field(default_factory=RetrainConfig)

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """The sections as patterns: Prefect's server checks them, and its form does not unfold them.

        The form shows ``properties``: what a person sets, and ``overrides``, one JSON object for all sections.
        """
        schema = handler(core)
        tree = handler.resolve_ref_schema(schema)
        sections = {f"^{name}$": tree["properties"][name] for name in SECTIONS}
        overrides = {
            "type": "object",
            "title": "Overrides",
            "description": 'fields of other sections as JSON, such as {"train": {"epochs": 3}}; '
            "what is left out comes from the preset. They win over a section that is given directly",
            "patternProperties": sections,
            "additionalProperties": False,
        }
        shown = {name: field for name, field in tree["properties"].items() if name not in SECTIONS or name == "studies"}
        tree |= {"properties": shown | {OVERRIDES: overrides}, "patternProperties": sections}
        return schema

    @model_validator(mode="before")
    @classmethod
    def _fill_from_preset(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        refuse_secrets(given)
        given = merge_overrides(given)
        preset = PRESETS.get(str(given.get("preset", "demo")), {})
        filled: dict[str, Any] = {"name": _usual_name(given)} | given
        for section, kind in SECTIONS.items():
            over = given.get(section, {})
            if isinstance(over, dict):  # else a section that is whole, or a value that pydantic refuses
                start = overlay(preset.get(section, {}), kind.start(over))
                base = kind.model_validate(start).model_dump()
                filled[section] = overlay(base, over)
        return filled

    @field_validator("name")
    @classmethod
    def _is_a_name_for_mlflow(cls, name: str) -> str:
        if not re.fullmatch(_NAME, name):
            raise ValueError(
                f"{name!r} cannot name a model in MLflow: give some letters or digits on one line, without / : ? @"
            )
        if (size := len(name.encode())) > _NAME_BYTES:
            raise ValueError(f"{name!r} has {size} bytes in UTF-8: at most {_NAME_BYTES} fit into the names of files")
        return name

    @model_validator(mode="after")
    def _heads_divide_the_views(self) -> PipelineConfig:
        model = self.model
        widths = {"lightgcn.dim": self.lightgcn.dim} if model.cf_view else {}
        if model.semantic_view and model.backbone.name_or_path is None:  # else the pretrained backbone has its width
            widths["model.backbone.d_model"] = model.backbone.d_model
        if wrong := [f"{field} ({width})" for field, width in widths.items() if width % model.view_heads]:
            raise ValueError(f"model.view_heads is {model.view_heads}, which does not divide {' and '.join(wrong)}")
        return self

    @model_validator(mode="after")
    def _protocol_is_drawn(self) -> PipelineConfig:
        drawn = self.prepare.protocols
        if self.evaluation.protocol not in drawn:
            raise ValueError(
                f"evaluation.protocol is {self.evaluation.protocol!r}, but prepare.protocols draws only "
                f"{', '.join(drawn)}: add it there"
            )
        if len(set(drawn)) < len(drawn):
            raise ValueError(f"prepare.protocols names one twice: {', '.join(drawn)}")
        return self

    @model_validator(mode="after")
    def _instants_have_an_order(self) -> PipelineConfig:
        facts = FORMATS.get(self.format)  # None is a format outside the package: prepare asks it
        if facts and (reason := lacks_order(facts, self.prepare.same_time)):
            raise ValueError(reason)
        return self

    def analyses_unisar(self, full_pipeline: bool = False) -> bool:
        """Whether UniSAR is trained and analysed: in analyze/mechanisms, or in gensr/full-pipeline."""
        wanted = ("always",) if full_pipeline else ("mechanisms", "always")
        enabled = self.analysis.enabled or not full_pipeline  # analyze/mechanisms is there to analyse
        return enabled and self.train.tasks == "both" and self.analysis.unisar in wanted


SECTIONS: dict[str, type[Frozen]] = {
    name: field.annotation
    for name, field in PipelineConfig.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, Frozen)
}


def merge_overrides(given: dict[str, Any]) -> dict[str, Any]:
    """The parameter of a flow, its ``overrides`` merged into the sections, over which they win.

    Raises ValueError where the overrides are no object or name something else than a section.
    """
    direct = {name: value for name, value in given.items() if name != OVERRIDES}
    overrides = given.get(OVERRIDES)
    if overrides is None:
        return direct
    if not isinstance(overrides, dict):
        raise ValueError(f"overrides is {overrides!r}: expected an object of sections")
    if unknown := sorted(overrides.keys() - SECTIONS.keys()):
        raise ValueError(f"overrides.{unknown[0]} is no section: expected one of {', '.join(SECTIONS)}")
    return overlay(direct, overrides)


def with_changes(config: PipelineConfig, changes: dict[str, Any]) -> PipelineConfig:
    """The config with a tree of changes laid over it, checked as any other."""
    return PipelineConfig.model_validate(overlay(config.model_dump(), changes))
