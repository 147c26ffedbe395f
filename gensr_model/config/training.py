"""How GenSR and the two-head model are trained."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from gensr_model.config.base import TASKS, Frozen, Task

Compile = Literal["auto", "no", "yes"]
Processes = Literal["auto"] | Annotated[int, Field(ge=1)]


class TrainConfig(Frozen):
    """Optimizer, batches and stopping of GenSR and of the two-head model. Baselines share some of the fields."""

    tasks: Literal["both", "recommendation", "search"] = Field(
        "both", description="Tasks whose samples are trained, validated and ranked. Histories hold both behaviors."
    )
    precision: Literal["auto", "no", "bf16"] = Field(
        "auto",
        description="Number format of the forward pass in training. auto: bf16 where a CUDA device supports it, "
        "else fp32. Weights are always fp32. Validation and scores use `evaluation.precision`.",
    )
    compile: Compile = Field(
        "auto",
        description="Use torch.compile on the blocks of the T5, in training and in ranking the test split. auto: "
        "on a CUDA device, if the T5 is at least 512 wide.",
    )
    processes: Processes = Field(
        1,
        description="Processes that share every batch of a training, of baselines too. auto: one for each CUDA "
        "device of the machine, else one. The result stays the same up to rounding and dropout.",
    )
    accelerate: str | None = Field(
        None,
        min_length=1,
        description="Path of Accelerate's own config file, for trainings on several machines. It replaces "
        "`processes`. Left out: this machine alone.",
    )
    learning_rate: float = Field(1e-3, gt=0, description="Highest learning rate, after the warm-up.")
    weight_decay: float = Field(0.01, ge=0, description="Weight decay of AdamW.")
    warmup_share: float = Field(
        0.05, ge=0, le=1, description="Share of all steps during which the learning rate rises."
    )
    clip_norm: float = Field(
        1.0, gt=0, description="Largest norm of the gradient. Larger gradients are scaled down to it."
    )
    epochs: int = Field(5, ge=1, description="Largest number of epochs of GenSR.")
    batch_size: int = Field(64, ge=1, description="Positives in a micro-batch. Each positive adds `negatives` rows.")
    accumulation: int = Field(1, ge=1, description="Micro-batches per optimizer step.")
    negatives: int = Field(4, ge=1, description="Training negatives per positive, drawn anew every epoch.")
    patience: int = Field(2, ge=1, description="Validations without a better mean NDCG@5 before training stops.")
    validations_per_epoch: int = Field(1, ge=1, description="Validations per epoch.")
    valid_samples: int = Field(1_000, ge=1, description="Fixed validation samples per task during training.")
    checkpoint_every: int = Field(100, ge=1, description="Optimizer steps between checkpoints.")
    two_head_gamma: float = Field(1.0, ge=0, description="γ of Eq. 1, for the two-head model.")
    two_head_epochs: int = Field(3, ge=1, description="Largest number of epochs of the two-head model.")

    @property
    def trained_tasks(self) -> tuple[Task, ...]:
        """The tasks whose samples are trained on."""
        return TASKS if self.tasks == "both" else (self.tasks,)
