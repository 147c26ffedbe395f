"""What the harness asks of a baseline."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import torch.nn.functional as F
from torch import Tensor

from gensr_model.baselines import layers as L
from gensr_model.baselines.inputs import BaselineBatch
from gensr_model.config.base import Task
from gensr_model.data.prepared import IntArray
from gensr_model.models import losses
from gensr_model.models.base import LossParts, RankingModel

Grid = dict[str, tuple[Any, ...]]  # hyperparameter -> values to try, the default first


class Phase(NamedTuple):
    """A part of training. All but the last keep their last weights; the last one those that are best on valid."""

    name: str = ""
    epochs: int | None = None  # None as the config has it
    learning_rate: float | None = None  # None as the point has it
    share: float = 1.0  # of the config's epochs, at least one epoch, where ``epochs`` is None


class Baseline(RankingModel):
    """A system that ranks candidates; built as ``Class(domain, **hyperparameters)``, each with a default.

    A model for both tasks gets batches in which they are mixed.
    """

    reads: ClassVar[frozenset[str]]  # of inputs.FIELDS
    tasks: ClassVar[tuple[Task, ...]]
    fixed_length: ClassVar[bool] = False  # its history has one length, so that more padding may change a score
    negatives: ClassVar[int | None] = None  # per positive in training; None as the config has it
    needs: ClassVar[tuple[str, ...]] = ()  # what it reads beside the dataset: codes of items, or the CF tables
    phases: ClassVar[tuple[Phase, ...]] = (Phase(),)

    def receive(self, name: str, value: Any) -> None:
        """Take one of ``needs`` before training; it becomes a part of the weights."""
        raise ValueError(f"{type(self).__name__} needs no {name}, so it cannot be given any")

    def enter(self, phase: str, seed: int) -> None:
        """Get ready for a phase of training, as a function of the weights and the seed alone."""

    def buckets(self) -> IntArray | None:
        """(I,) numbers of the items: batches of this phase hold positives of like numbers. None: of like histories."""
        return None

    @abstractmethod
    def loss(self, batch: BaselineBatch) -> LossParts:
        """What is minimised; column 0 of the candidates is the positive, the others are sampled negatives."""

    @abstractmethod
    def score(self, batch: BaselineBatch) -> Tensor:
        """(B, C), larger is better. The place of a candidate in its list must not matter."""


@runtime_checkable
class CatalogueBaseline(Protocol):
    """A baseline that can rank the whole catalogue."""

    def catalogue_scores(self, batch: BaselineBatch) -> Tensor:
        """(B, I), larger is better. The candidates of the batch are not read."""


class DotBaseline(Baseline):
    """A baseline that scores an item by state · item. So its loss can run over the whole catalogue."""

    items: L.ItemEmbedding

    def __init__(self, item_loss: losses.ItemLoss = "catalogue") -> None:
        super().__init__()
        self.item_loss = item_loss

    @abstractmethod
    def state(self, batch: BaselineBatch) -> Tensor:
        """(B, d) what is looked for, before any candidate is known."""

    @property
    def item_vectors(self) -> Tensor:
        """(I, d) of all items."""
        return self.items.table.weight

    def score(self, batch: BaselineBatch) -> Tensor:
        """(B, C) state · item."""
        return L.dot(self.state(batch), F.embedding(batch.candidates, self.item_vectors))

    def catalogue_scores(self, batch: BaselineBatch) -> Tensor:
        """(B, I) state · every item. The candidates of the batch are not read."""
        return self.state(batch) @ self.item_vectors.T

    def loss(self, batch: BaselineBatch) -> LossParts:
        return losses.total({self.item_loss: self.loss_of_items(batch)})

    def loss_of_items(self, batch: BaselineBatch) -> Tensor:
        """(B,) the loss that ``item_loss`` names."""
        return losses.item_loss(self.item_loss, self.state(batch), self.item_vectors, batch.candidates)


class BaselineSpec(NamedTuple):
    """A baseline as the table has it."""

    model: type[Baseline]
    title: str
    block: str  # of the paper's tables: recommendation, search, search-enhanced, joint
    grid: Grid  # what is tuned on valid
    reranks: bool = True  # whether it stands in the tables of re-ranking; else in those of full ranking alone

    @property
    def reads(self) -> frozenset[str]:
        """The input contract."""
        return self.model.reads

    @property
    def tasks(self) -> tuple[Task, ...]:
        return self.model.tasks
