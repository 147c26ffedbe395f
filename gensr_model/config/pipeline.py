"""The whole configuration: one tree of frozen pydantic models, with named presets.

``PipelineConfig`` is the parameter of every flow. The preset fills every section that the user leaves out. A section
that the user gives in part (``{"train": {"epochs": 3}}``) is laid over the preset's values. Validation fills every
field, so a config that is written to JSON and read back is the same config.
"""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import Field, GetJsonSchemaHandler, field_validator, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from gensr_model.config.base import SHOWN, Frozen, overlay
from gensr_model.config.data import GeneratedSource, IngestConfig, PrepareConfig, Source, source_kind
from gensr_model.config.evaluation import EvaluationConfig, RetrainConfig, StatisticsConfig
from gensr_model.config.known_formats import DEFAULT, FORMATS, Format, lacks_order, short_name
from gensr_model.config.logs import LogsConfig
from gensr_model.config.model import FullRankingConfig, LightGCNConfig, ModelConfig, SemanticIdsConfig
from gensr_model.config.presets import PRESETS
from gensr_model.config.recommend import RecommendConfig
from gensr_model.config.secrets import refuse_secrets
from gensr_model.config.studies import AblationConfig, AnalysisConfig, RerankConfig, StudiesConfig, SweepConfig
from gensr_model.config.training import TrainConfig

OVERRIDES = "overrides"
# MLflow refuses other names for a model and finds none with @ by its alias. The name is also a part of file names.
# The pattern means the same in Python and in ECMAScript. It does not end in `$`, because Python's `$` also matches
# before a last newline.
_NAME = r"^(?=.*\S)(?!\.+(?![\s\S]))[^/:?@\x00-\x1f\x7f-\x9f\u2028\u2029]+(?![\s\S])"
_NAME_BYTES = 160  # file systems allow 255, and the longest name of a folder adds 70


def _usual_name(given: dict[str, Any]) -> str:
    return f"{source_kind(given.get('source'))}-{short_name(str(given.get('format', DEFAULT)))}"


class PipelineConfig(Frozen):
    """Everything that decides a run: first the fields that a person sets, then the sections, which the preset fills."""

    name: str = Field(  # a factory, as below: else the form would give all data the name of the demo's data
        default_factory=lambda: _usual_name({}),
        max_length=100,
        json_schema_extra={"pattern": _NAME},
        description="Name of the data in tables, runs and the registered model. Left out: the kind of source and "
        "the format.",
    )
    format: Format = Field(
        DEFAULT, description="Format of the raw files. module:NAME names a DatasetFormat outside the package."
    )
    source: Source = Field(
        default_factory=GeneratedSource,
        description="Where the raw files come from: generated, download, the path of their folder, which "
        "contains a /, or a URL. The kinds s3 and sql have more fields.",
    )
    preset: Literal["demo", "laptop", "best", "small", "paper"] = Field(
        "demo",
        description="Starting values of all sections. laptop: the paper's model on a small T5 from scratch. best: "
        "laptop with our departures from the paper. demo: a smaller best. small: the first layers of a pretrained "
        "flan-t5-small. paper: flan-t5-base.",
    )
    seed: int = Field(0, ge=0, description="Seed of data, candidates and training.")
    # Factories, not defaults: Prefect's form then has no default values for a section. With them, the form would send
    # the demo's values and override the preset that the user chooses.
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
    recommend: RecommendConfig = Field(default_factory=RecommendConfig)

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """The sections as patterns: Prefect's server checks them, and its form does not unfold them.

        The form shows ``properties``: the fields that a person sets, and ``overrides``, one JSON object for all
        sections.
        """
        schema = handler(core)
        tree = handler.resolve_ref_schema(schema)
        sections = {f"^{name}$": tree["properties"][name] for name in SECTIONS}
        overrides = {
            "type": "object",
            "title": "Overrides",
            "description": 'Fields of other sections as JSON, such as {"train": {"epochs": 3}}. The preset '
            "fills the rest. These values win over a section that is given directly.",
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
                f"{name!r} cannot name a model in MLflow. Set name to letters or digits on one line, without / : ? @."
            )
        if (size := len(name.encode())) > _NAME_BYTES:
            raise ValueError(
                f"name {name!r} has {size} bytes in UTF-8, more than file names allow. Give at most "
                f"{_NAME_BYTES} bytes."
            )
        return name

    @model_validator(mode="after")
    def _heads_divide_the_views(self) -> PipelineConfig:
        model = self.model
        widths = {"lightgcn.dim": self.lightgcn.dim} if model.cf_view else {}
        if model.semantic_view and model.backbone.name_or_path is None:  # a pretrained backbone brings its own width
            widths["model.backbone.d_model"] = model.backbone.d_model
        if wrong := [f"{field} ({width})" for field, width in widths.items() if width % model.view_heads]:
            raise ValueError(
                f"model.view_heads is {model.view_heads}, which does not divide {' and '.join(wrong)}. "
                "Change one so that it divides the other."
            )
        return self

    @model_validator(mode="after")
    def _protocol_is_drawn(self) -> PipelineConfig:
        drawn = self.prepare.protocols
        if self.evaluation.protocol not in drawn:
            raise ValueError(
                f"evaluation.protocol is {self.evaluation.protocol!r}, but prepare.protocols draws "
                f"only {', '.join(drawn)}. Add the protocol to prepare.protocols, or choose another."
            )
        if len(set(drawn)) < len(drawn):
            raise ValueError(f"prepare.protocols names a protocol twice: {', '.join(drawn)}. Name each protocol once.")
        facts = FORMATS.get(self.format)
        if SHOWN in drawn and facts and facts.without_impressions:
            raise ValueError(
                f"prepare.protocols names shown, but format {self.format!r} has no impressions: "
                f"{facts.without_impressions}. Leave shown out of prepare.protocols."
            )
        return self

    @model_validator(mode="after")
    def _instants_have_an_order(self) -> PipelineConfig:
        facts = FORMATS.get(self.format)  # None: a format outside the package, which prepare checks
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
    """The parameter of a flow with its ``overrides`` merged into the sections. Overrides win over the sections.

    Raises ValueError where the overrides are no object or name no section.
    """
    direct = {name: value for name, value in given.items() if name != OVERRIDES}
    overrides = given.get(OVERRIDES)
    if overrides is None:
        return direct
    if not isinstance(overrides, dict):
        raise ValueError(
            f'overrides is {overrides!r}. Give an object of sections, such as {{"train": {{"epochs": 3}}}}.'
        )
    if unknown := sorted(overrides.keys() - SECTIONS.keys()):
        raise ValueError(f"overrides.{unknown[0]} is no section. Choose one of {', '.join(SECTIONS)}.")
    return overlay(direct, overrides)


def with_changes(config: PipelineConfig, changes: dict[str, Any]) -> PipelineConfig:
    """The config with a tree of changes laid over it, validated again."""
    return PipelineConfig.model_validate(overlay(config.model_dump(), changes))
