"""What the harness asks of a baseline."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, NamedTuple

from torch import Tensor

from gensr_model.baselines import layers as L
from gensr_model.baselines.inputs import BaselineBatch
from gensr_model.config.base import Task
from gensr_model.models import losses
from gensr_model.models.base import LossParts, RankingModel

Grid = dict[str, tuple[Any, ...]]  # hyperparameter -> values to try, the default first


class Baseline(RankingModel):
    """A system that ranks candidates; built as ``Class(domain, **hyperparameters)``, each with a default.

    A model for both tasks gets batches in which they are mixed.
    """

    reads: ClassVar[frozenset[str]]  # of inputs.FIELDS
    tasks: ClassVar[tuple[Task, ...]]
    fixed_length: ClassVar[bool] = False  # its history has one length, so that more padding may change a score

    @abstractmethod
    def loss(self, batch: BaselineBatch) -> LossParts:
        """What is minimised; column 0 of the candidates is the positive, the others are sampled negatives."""

    @abstractmethod
    def score(self, batch: BaselineBatch) -> Tensor:
        """(B, C), larger is better. The place of a candidate in its list must not matter."""


class DotBaseline(Baseline):
    """A baseline that scores an item by state · item. So its loss can run over the whole catalogue."""

    items: L.ItemEmbedding
    item_loss: losses.ItemLoss

    @abstractmethod
    def state(self, batch: BaselineBatch) -> Tensor:
        """(B, d) what is looked for, before any candidate is known."""

    def score(self, batch: BaselineBatch) -> Tensor:
        """(B, C) state · item."""
        return L.dot(self.state(batch), self.items(batch.candidates))

    def loss(self, batch: BaselineBatch) -> LossParts:
        return losses.total({self.item_loss: self.loss_of_items(batch)})

    def loss_of_items(self, batch: BaselineBatch) -> Tensor:
        """(B,) the loss that ``item_loss`` names."""
        return losses.item_loss(self.item_loss, self.state(batch), self.items.table.weight, batch.candidates)


class BaselineSpec(NamedTuple):
    """A baseline as the table has it."""

    model: type[Baseline]
    title: str
    block: str  # of the paper's tables: recommendation, search, search-enhanced, joint
    grid: Grid  # what is tuned on valid

    @property
    def reads(self) -> frozenset[str]:
        """The input contract."""
        return self.model.reads

    @property
    def tasks(self) -> tuple[Task, ...]:
        return self.model.tasks
