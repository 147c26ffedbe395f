"""The whole configuration: one tree of frozen pydantic models, with named presets.

``PipelineConfig`` is the parameter of the flow ``gensr``. A sub-tree that is not given comes from the preset; a
sub-tree that is given in part (``{"train": {"epochs": 3}}``) is laid over the preset's values. After validation every
field is filled, so a config written to JSON and read back is the same config.
"""

from __future__ import annotations

import hashlib
import json
from datetime import date
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, field_validator, model_validator

from gensr_model.config.base import Frozen
from gensr_model.config.model import FullRankingConfig, LightGCNConfig, ModelConfig
from gensr_model.config.presets import PRESETS
from gensr_model.config.studies import (
    AblationConfig,
    AnalysisConfig,
    RerankConfig,
    StudiesConfig,
    SweepConfig,
)

Task = Literal["recommendation", "search"]
TASKS: tuple[Task, Task] = ("recommendation", "search")
Split = Literal["train", "valid", "test"]
Format = Literal["amazon", "kuaisar"]
Protocol = Literal["uniform", "popularity", "bm25"]
Compile = Literal["auto", "no", "yes"]
SEARCH_ONLY: frozenset[Protocol] = frozenset(
    {"bm25"}
)  # protocols that need a query: no list for recommendation


# --- where the raw files come from -------------------------------------------------------------------------------


class GeneratedSource(Frozen):
    """Generated files in the exact raw format; never to be called anybody's real data."""

    kind: Literal["generated"] = "generated"
    users: int = Field(1_200, ge=20)
    items: int = Field(800, ge=150)
    events_per_user: float = Field(
        12.0, gt=0, description="mean purchases (amazon) or clicks (kuaisar) of a user"
    )
    search_share: float = Field(
        0.45, gt=0, lt=1, description="share of the clicks that are made in search (kuaisar)"
    )
    world_seed: int = Field(0, description="seed of the generated world, apart from the seed of training")


class FolderSource(Frozen):
    """Raw files in a folder, named as published (``*.gz`` or plain)."""

    kind: Literal["folder"] = "folder"
    path: str


class RemoteFile(Frozen):
    """One file to download; size and digest are checked where given."""

    url: str
    bytes: int | None = None
    sha256: str | None = None
    md5: str | None = None


class DownloadSource(Frozen):
    """Raw files from the public address; without ``files`` the published ones of the format."""

    kind: Literal["download"] = "download"
    files: tuple[RemoteFile, ...] = ()


Source = Annotated[GeneratedSource | FolderSource | DownloadSource, Field(discriminator="kind")]


# --- data ------------------------------------------------------------------------------------------------------


class IngestConfig(Frozen):
    max_reject_share: float = Field(
        0.01, ge=0, le=1, description="above this share of bad rows the run stops"
    )
    earliest: str = Field("1995-01-01", description="timestamps before this day are rejected: YYYY-MM-DD")

    @field_validator("earliest")
    @classmethod
    def _is_a_day(cls, given: str) -> str:
        return date.fromisoformat(given).isoformat()


class PrepareConfig(Frozen):
    min_interactions: int = Field(5, ge=1, description="k of the k-core over users and items (§6.1.1)")
    negatives: int = Field(99, ge=1, description="frozen negatives per evaluation sample (§6.1.3)")
    protocols: tuple[Protocol, ...] = Field(
        ("uniform",),
        min_length=1,
        description="how negatives are drawn, each frozen beside the others: uniform, popularity, bm25 (search only)",
    )
    stem_queries: bool = False
    memory_limit: str = Field("8GB", description="DuckDB's; beyond it DuckDB spills to its temp folder")
    threads: int = Field(2, ge=1)


# --- training and evaluation -------------------------------------------------------------------------------------


class TrainConfig(Frozen):
    tasks: Literal["both", "recommendation", "search"] = Field(
        "both",
        description="train, validate and rank on one task's samples alone; histories keep both behaviors",
    )
    precision: Literal["auto", "no", "bf16"] = Field(
        "auto",
        description="of the forward pass in training; auto: bf16 where a CUDA device supports it, else no (fp32). "
        "Weights are fp32 always; for validation and scores see evaluation.precision",
    )
    compile: Compile = Field(
        "auto",
        description="torch.compile for the blocks of the T5, in training and in ranking the test split; auto: on a "
        "CUDA device, from a width of 512 on",
    )
    learning_rate: float = Field(1e-3, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    warmup_share: float = Field(0.05, ge=0, le=1, description="share of all steps with rising learning rate")
    clip_norm: float = Field(1.0, gt=0)
    epochs: int = Field(5, ge=1)
    batch_size: int = Field(
        64, ge=1, description="positives in a micro-batch; each brings `negatives` more rows"
    )
    accumulation: int = Field(1, ge=1, description="micro-batches per optimizer step")
    negatives: int = Field(4, ge=1, description="training negatives per positive, new every epoch")
    patience: int = Field(2, ge=1, description="validations without a better mean NDCG@5 before stopping")
    validations_per_epoch: int = Field(1, ge=1)
    valid_samples: int = Field(1_000, ge=1, description="fixed validation samples per task while training")
    checkpoint_every: int = Field(100, ge=1, description="optimizer steps between checkpoints")
    two_head_gamma: float = Field(1.0, ge=0, description="γ of Eq. 1, for the discriminative compared system")
    two_head_epochs: int = Field(3, ge=1)

    @property
    def trained_tasks(self) -> tuple[Task, ...]:
        """The tasks whose samples are trained on."""
        return TASKS if self.tasks == "both" else (self.tasks,)


class EvaluationConfig(Frozen):
    protocol: Protocol = Field("uniform", description="which of prepare.protocols models are ranked on")
    batch_size: int = Field(64, ge=1, description="samples scored together")
    precision: Literal["no", "bf16"] = Field(
        "no",
        description="of GenSR's T5 when it scores candidates; bf16: several times faster on a GPU, and close scores "
        "may change places. Other models score in fp32 always",
    )
    max_test_samples: int | None = Field(None, ge=1, description="per task; None = the full test split")


class RetrainConfig(Frozen):
    """When the nightly run may move the alias ``champion``."""

    delta: float = Field(0.005, ge=0, description="allowed loss in NDCG@10, on both tasks")
    max_psi: float = Field(
        0.25, ge=0, description="population stability index above which a feature of the data has drifted"
    )
    on_drift: Literal["warn", "stop"] = Field(
        "warn", description="say it in the decision, or stop before training"
    )
    bootstrap_samples: int = Field(2_000, ge=1)
    confidence: float = Field(0.95, gt=0, lt=1, description="of the bootstrap intervals, as a share")


# --- the whole tree ---------------------------------------------------------------------------------------------

_SECTIONS: dict[str, type[Frozen]] = {
    "ingest": IngestConfig,
    "prepare": PrepareConfig,
    "lightgcn": LightGCNConfig,
    "model": ModelConfig,
    "train": TrainConfig,
    "full_ranking": FullRankingConfig,
    "rerank": RerankConfig,
    "evaluation": EvaluationConfig,
    "ablation": AblationConfig,
    "sweep": SweepConfig,
    "studies": StudiesConfig,
    "analysis": AnalysisConfig,
    "retrain": RetrainConfig,
}


def _overlay(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    out = dict(base)
    for key, value in over.items():
        known = out.get(key)
        out[key] = _overlay(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return out


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
            filled[section] = _overlay(base, over or {})
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
    return PipelineConfig.model_validate(_overlay(config.model_dump(), changes))


def digest(value: Any, length: int = 16) -> str:
    """Stable hex digest of a config or of any JSON value: sorted keys, no white space, sha256."""
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:length]
