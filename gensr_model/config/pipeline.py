"""The whole configuration: one tree of frozen pydantic models, with named presets.

``PipelineConfig`` is the parameter of the flow ``gensr``. A sub-tree that is not given comes from the preset; a
sub-tree that is given in part (``{"train": {"epochs": 3}}``) is laid over the preset's values. After validation every
field is filled, so a config written to JSON and read back is the same config.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field, model_validator

from gensr_model.config.base import Format, Frozen, overlay
from gensr_model.config.data import GeneratedSource, IngestConfig, PrepareConfig, Source
from gensr_model.config.evaluation import EvaluationConfig, RetrainConfig, StatisticsConfig
from gensr_model.config.model import FullRankingConfig, LightGCNConfig, ModelConfig
from gensr_model.config.presets import PRESETS
from gensr_model.config.studies import (
    AblationConfig,
    AnalysisConfig,
    RerankConfig,
    StudiesConfig,
    SweepConfig,
)
from gensr_model.config.training import TrainConfig

_SECTIONS: dict[str, type[Frozen]] = {
    "ingest": IngestConfig,
    "prepare": PrepareConfig,
    "lightgcn": LightGCNConfig,
    "model": ModelConfig,
    "train": TrainConfig,
    "full_ranking": FullRankingConfig,
    "rerank": RerankConfig,
    "evaluation": EvaluationConfig,
    "statistics": StatisticsConfig,
    "ablation": AblationConfig,
    "sweep": SweepConfig,
    "studies": StudiesConfig,
    "analysis": AnalysisConfig,
    "retrain": RetrainConfig,
}


def _usual_name(given: dict[str, Any]) -> str:
    source = given.get("source") or {}
    kind = source.get("kind") if isinstance(source, dict) else getattr(source, "kind", None)
    return f"{kind or 'generated'}-{given.get('format', 'amazon')}"


class PipelineConfig(Frozen):
    """Everything that decides a run of ``gensr/full-pipeline``."""

    name: str = Field(  # a factory, as below: the form would call all data what the demo's are called
        default_factory=lambda: _usual_name({}),
        description="what tables and runs call the data; where none is given, the source's kind and the format",
    )
    format: Format = "amazon"
    source: Source = Field(default_factory=lambda: GeneratedSource())
    preset: Literal["demo", "laptop", "best", "small", "paper"] = Field(
        "demo",
        description="demo, laptop: a small T5 from scratch; best: laptop with our departures from the paper; "
        "small: the first layers of a pretrained flan-t5-small; paper: flan-t5-base",
    )
    seed: int = Field(0, ge=0)
    # Factories, not defaults: the JSON schema that Prefect shows as a form then carries no default for a section,
    # so that choosing another preset in the form is not undone by the demo's values.
    ingest: IngestConfig = Field(default_factory=lambda: IngestConfig())
    prepare: PrepareConfig = Field(default_factory=lambda: PrepareConfig())
    lightgcn: LightGCNConfig = Field(default_factory=lambda: LightGCNConfig())
    model: ModelConfig = Field(default_factory=lambda: ModelConfig())
    train: TrainConfig = Field(default_factory=lambda: TrainConfig())
    full_ranking: FullRankingConfig = Field(default_factory=lambda: FullRankingConfig())
    rerank: RerankConfig = Field(default_factory=lambda: RerankConfig())
    evaluation: EvaluationConfig = Field(default_factory=lambda: EvaluationConfig())
    statistics: StatisticsConfig = Field(default_factory=lambda: StatisticsConfig())
    ablation: AblationConfig = Field(default_factory=lambda: AblationConfig())
    sweep: SweepConfig = Field(default_factory=lambda: SweepConfig())
    studies: StudiesConfig = Field(default_factory=lambda: StudiesConfig())
    analysis: AnalysisConfig = Field(default_factory=lambda: AnalysisConfig())
    retrain: RetrainConfig = Field(default_factory=lambda: RetrainConfig())

    @model_validator(mode="before")
    @classmethod
    def _fill_from_preset(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        preset = PRESETS.get(given.get("preset", "demo"), {})
        filled: dict[str, Any] = {"name": _usual_name(given)} | given
        for section, kind in _SECTIONS.items():
            over = given.get(section)
            if isinstance(over, BaseModel):
                continue
            base = kind.model_validate(preset.get(section, {})).model_dump()
            filled[section] = overlay(base, over or {})
        return filled

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
    def _folds_can_be_read(self) -> PipelineConfig:
        if self.lightgcn.folds == 1:
            raise ValueError(
                "lightgcn.folds is 1, which leaves no purchase to train on: give 2 or more, or 0"
            )
        if self.lightgcn.folds and not self.model.freeze_cf:
            raise ValueError(
                "model.freeze_cf is false and lightgcn.folds is not 0: a table that learns has learned from every "
                "purchase; choose one"
            )
        return self

    def analyses_unisar(self, full_pipeline: bool = False) -> bool:
        """Whether UniSAR is trained and analysed: in analyze/mechanisms, or in gensr/full-pipeline."""
        wanted = ("always",) if full_pipeline else ("mechanisms", "always")
        enabled = self.analysis.enabled or not full_pipeline  # analyze/mechanisms is there to analyse
        return enabled and self.train.tasks == "both" and self.analysis.unisar in wanted


def with_changes(config: PipelineConfig, changes: dict[str, Any]) -> PipelineConfig:
    """The config with a tree of changes laid over it, checked as any other."""
    return PipelineConfig.model_validate(overlay(config.model_dump(), changes))
