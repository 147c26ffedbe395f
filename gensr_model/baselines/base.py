"""The interface of a baseline."""

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
    """A part of training. The last phase keeps the best weights on valid, earlier phases their last weights."""

    name: str = ""
    epochs: int | None = None  # None: from the config
    learning_rate: float | None = None  # None: from the point
    share: float = 1.0  # share of the config's epochs, at least one epoch, where ``epochs`` is None


class Baseline(RankingModel):
    """A model that ranks candidates. It is built as ``Class(domain, **hyperparameters)``, each with a default.

    A model for both tasks gets batches of both tasks.
    """

    reads: ClassVar[frozenset[str]]  # some of inputs.FIELDS
    tasks: ClassVar[tuple[Task, ...]]
    fixed_length: ClassVar[bool] = False  # True: histories have one length, so more padding may change a score
    negatives: ClassVar[int | None] = None  # per positive in training; None: from the config
    needs: ClassVar[tuple[str, ...]] = ()  # inputs besides the dataset: codes of items, or the CF tables
    phases: ClassVar[tuple[Phase, ...]] = (Phase(),)
    in_parts: ClassVar[bool] = True  # False: ``loss`` needs whole batches, so each process of a training computes them

    def receive(self, name: str, value: Any) -> None:
        """Take one of ``needs`` before training. The value becomes a part of the weights."""
        raise ValueError(
            f"{type(self).__name__} does not need {name}. Add it to the baseline's needs, or do not pass it."
        )

    def enter(self, phase: str, seed: int) -> None:
        """Prepare for a phase of training. The result depends only on the weights and the seed."""

    def buckets(self) -> IntArray | None:
        """(I,) a number for each item: positives of similar numbers share a batch.

        None: similar histories share one.
        """
        return None

    @abstractmethod
    def loss(self, batch: BaselineBatch) -> LossParts:
        """The loss to minimise. Column 0 of the candidates is the positive; the others are sampled negatives."""

    @abstractmethod
    def score(self, batch: BaselineBatch) -> Tensor:
        """(B, C) scores, larger is better. The place of a candidate in its list must not matter."""


@runtime_checkable
class CatalogueBaseline(Protocol):
    """A baseline that can rank the whole catalogue."""

    def catalogue_scores(self, batch: BaselineBatch) -> Tensor:
        """(B, I) scores, larger is better. The batch's candidates have no effect."""


class DotBaseline(Baseline):
    """A baseline that scores an item by state · item, so that its loss can cover the whole catalogue."""

    items: L.ItemEmbedding

    def __init__(self, item_loss: losses.ItemLoss = "catalogue") -> None:
        super().__init__()
        self.item_loss = item_loss

    @abstractmethod
    def state(self, batch: BaselineBatch) -> Tensor:
        """(B, d) the state, before any candidate is known."""

    @property
    def item_vectors(self) -> Tensor:
        """(I, d) vectors of all items."""
        return self.items.table.weight

    def score(self, batch: BaselineBatch) -> Tensor:
        """(B, C) state · item."""
        return L.dot(self.state(batch), F.embedding(batch.candidates, self.item_vectors))

    def catalogue_scores(self, batch: BaselineBatch) -> Tensor:
        """(B, I) state · every item. The batch's candidates have no effect."""
        return self.state(batch) @ self.item_vectors.T

    def loss(self, batch: BaselineBatch) -> LossParts:
        return losses.total({self.item_loss: self.loss_of_items(batch)})

    def loss_of_items(self, batch: BaselineBatch) -> Tensor:
        """(B,) the loss with the name ``item_loss``."""
        return losses.item_loss(self.item_loss, self.state(batch), self.item_vectors, batch.candidates)


class BaselineSpec(NamedTuple):
    """A baseline's entry in the registry."""

    model: type[Baseline]
    title: str
    block: str  # block in the paper's tables: recommendation, search, search-enhanced, joint
    grid: Grid  # hyperparameters to tune on valid
    reranks: bool = True  # False: only in the tables of full ranking

    @property
    def reads(self) -> frozenset[str]:
        """The input contract."""
        return self.model.reads

    @property
    def tasks(self) -> tuple[Task, ...]:
        return self.model.tasks
