"""The contract of every model, ours and the baselines: training minimises ``loss``, and ``score`` ranks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

from torch import Tensor, nn


class LossParts(NamedTuple):
    """The loss of one batch. Training minimises ``total``."""

    total: Tensor
    parts: dict[str, Tensor]  # detached, for the log


class Attribution(NamedTuple):
    """What the scores of a batch's candidates come from. None: the model has no such part.

    Pairs are of the CF and the semantic view. docs/concepts/why_this_item.md explains the numbers.
    """

    weights: tuple[Tensor | None, Tensor | None]  # (B, C, H) Eq. 7's weights of the events
    views: tuple[Tensor | None, Tensor | None]  # (B, C) contribution of each view
    other: Tensor | None = None  # (B, C) contribution of what belongs to no view


class RankingModel(nn.Module, ABC):
    """Base of all models: one trainer and one evaluator serve them. A model reads the batches of its own builder."""

    scores_in_bf16: ClassVar[bool] = False  # whether ``score`` keeps its order under autocast to bf16

    @abstractmethod
    def loss(self, batch: Any) -> LossParts:
        """The loss of a training batch. Column 0 of its candidates is the positive, the others are negatives."""

    @abstractmethod
    def score(self, batch: Any) -> Tensor:
        """(B, C) scores, larger is better. The place of a candidate in its list must not matter."""


@runtime_checkable
class ProbedModel(Protocol):
    """Methods that the gradient probe of §6.5 needs from a model of both tasks."""

    def task_losses(self, batch: Any) -> tuple[Tensor, Tensor]:
        """Scalar losses of recommendation and search before any weighting: the mean over the rows of each task.

        The loss is NaN for a task without rows in the batch.
        """
        ...

    def conflict_parameters(self) -> list[nn.Parameter]:
        """The shared parameters whose task gradients are compared."""
        ...
