"""SASRec (Kang & McAuley 2018): a causal transformer over the recommendation history."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from gensr_model.baselines import layers as L
from gensr_model.baselines.base import DotBaseline
from gensr_model.baselines.inputs import REC, BaselineBatch, Domain
from gensr_model.config.base import Task
from gensr_model.models.losses import ItemLoss


class SASRec(DotBaseline):
    """SASRec: the score of an item is the last state of the encoded history · item.

    The paper's loss at every position is here the loss of every sample: each training event is a sample whose history
    ends before it, so its position is trained once per epoch. Departure: the loss is cross-entropy over the catalogue;
    the paper's binary cross-entropy (``bce``) uses sampled negatives.
    """

    reads: ClassVar[frozenset[str]] = frozenset({REC})
    tasks: ClassVar[tuple[Task, ...]] = ("recommendation",)

    def __init__(
        self, domain: Domain, dim: int = 64, layers: int = 2, heads: int = 2, dropout: float = 0.5,
        loss: ItemLoss = "catalogue",
    ) -> None:  # fmt: skip
        super().__init__(loss)
        self.items = L.ItemEmbedding(domain.n_items, dim)
        self.events = L.HistoryEmbedding(dim, domain.max_history, dropout)
        self.encoder = L.Transformer(dim, heads, layers, dropout, feed_forward=dim)

    def state(self, batch: BaselineBatch) -> Tensor:
        """(B, d) the last state. Zeros for an empty history, so that all items score alike."""
        history = batch.rec_history
        events = self.events(self.items.embed_history(history), history.mask)
        causal = L.causal(events.shape[1], events.device)
        state: Tensor = self.encoder(events, history.mask, causal)[:, -1]
        return state
