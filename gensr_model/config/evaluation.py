"""Configs of evaluation, of statistical tests between models, and of promotion."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from gensr_model.config.base import Frozen, Protocol


class EvaluationConfig(Frozen):
    """The candidates that models rank, and how models score them."""

    protocol: Protocol = Field(
        "uniform", description="How the ranked candidates were drawn: one of `prepare.protocols`."
    )
    batch_size: int = Field(64, ge=1, description="Samples scored in one batch.")
    precision: Literal["no", "bf16"] = Field(
        "no",
        description="Number format in which GenSR's T5 scores candidates. `bf16` is several times faster on a "
        "GPU, and close scores may change places. Other models always score in fp32.",
    )
    max_test_samples: int | None = Field(
        None, ge=1, description="Largest number of test samples per task. Left out: all test samples."
    )


class StatisticsConfig(Frozen):
    """How differences between models are tested, in every table, study and promotion."""

    bootstrap_samples: int = Field(2_000, ge=1, description="Resamples of the test users per interval.")
    confidence: float = Field(
        0.95, gt=0, lt=1, description="Confidence level of the bootstrap intervals, between 0 and 1."
    )


class RetrainConfig(Frozen):
    """When a new model takes the alias ``champion``."""

    delta: float = Field(0.005, ge=0, description="Largest allowed loss in NDCG@10, on each task.")
    anchor: bool = Field(
        True,
        description="Also allow at most `delta` of loss against each task's anchor, so that small losses do not "
        "add up. The anchor is the last version that was better on the task, or the first champion.",
    )
    max_psi: float = Field(
        0.25, ge=0, description="Largest population stability index (PSI). Above it a feature of the data has drifted."
    )
    on_drift: Literal["warn", "stop"] = Field(
        "warn", description="`warn`: the decision reports the drift. `stop`: the run ends before training."
    )
