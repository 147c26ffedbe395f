"""How GenSR and the two-head model are trained."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from gensr_model.config.base import TASKS, Frozen, Task

Compile = Literal["auto", "no", "yes"]


class TrainConfig(Frozen):
    """Optimizer, batches and stopping of GenSR and of the two-head model; baselines share some of them."""

    tasks: Literal["both", "recommendation", "search"] = Field(
        "both", description="whose samples are trained, validated and ranked; histories keep both behaviors"
    )
    precision: Literal["auto", "no", "bf16"] = Field(
        "auto",
        description="number format of the forward pass in training. auto: bf16 where a CUDA device supports it, else "
        "fp32. Weights are always fp32; evaluation.precision is for validation and scores",
    )
    compile: Compile = Field(
        "auto",
        description="whether torch.compile is used on the blocks of the T5, in training and in ranking the test split. "
        "auto: on a CUDA device, if the T5 is at least 512 wide",
    )
    learning_rate: float = Field(1e-3, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    warmup_share: float = Field(0.05, ge=0, le=1, description="share of all steps in which the learning rate rises")
    clip_norm: float = Field(1.0, gt=0)
    epochs: int = Field(5, ge=1)
    batch_size: int = Field(64, ge=1, description="positives in a micro-batch; each adds `negatives` rows")
    accumulation: int = Field(1, ge=1, description="micro-batches per optimizer step")
    negatives: int = Field(4, ge=1, description="training negatives per positive, new every epoch")
    patience: int = Field(2, ge=1, description="validations without a better mean NDCG@5 before stopping")
    validations_per_epoch: int = Field(1, ge=1)
    valid_samples: int = Field(1_000, ge=1, description="fixed validation samples per task while training")
    checkpoint_every: int = Field(100, ge=1, description="optimizer steps between checkpoints")
    two_head_gamma: float = Field(1.0, ge=0, description="γ of Eq. 1, for the two-head model")
    two_head_epochs: int = Field(3, ge=1)

    @property
    def trained_tasks(self) -> tuple[Task, ...]:
        """The tasks whose samples are trained on."""
        return TASKS if self.tasks == "both" else (self.tasks,)
