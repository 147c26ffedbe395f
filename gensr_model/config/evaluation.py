"""How trained models are ranked, compared with one another, and promoted."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from gensr_model.config.base import Frozen, Protocol


class EvaluationConfig(Frozen):
    """Which candidates models are ranked on, and how they are scored."""

    protocol: Protocol = Field("uniform", description="one of prepare.protocols: the candidates that models rank")
    batch_size: int = Field(64, ge=1, description="samples scored together")
    precision: Literal["no", "bf16"] = Field(
        "no",
        description="number format in which GenSR's T5 scores candidates. bf16 is several times faster on a GPU, and "
        "close scores may change places. Other models always score in fp32",
    )
    max_test_samples: int | None = Field(None, ge=1, description="test samples per task; left out: all")


class StatisticsConfig(Frozen):
    """How differences between models are tested: the intervals of every table, study and promotion."""

    bootstrap_samples: int = Field(2_000, ge=1, description="resamples of the test users per interval")
    confidence: float = Field(0.95, gt=0, lt=1, description="confidence level of the bootstrap intervals, as a share")


class RetrainConfig(Frozen):
    """When the nightly run may move the alias ``champion``."""

    delta: float = Field(0.005, ge=0, description="allowed loss in NDCG@10, on each task")
    anchor: bool = Field(
        True,
        description="allow a loss of `delta` against each task's anchor too, so that losses do not add up; it is "
        "the last version that was better on the task, or the first champion",
    )
    max_psi: float = Field(
        0.25, ge=0, description="population stability index above which a feature of the data has drifted"
    )
    on_drift: Literal["warn", "stop"] = Field(
        "warn", description="warn: the decision says it; stop: the run ends before training"
    )
