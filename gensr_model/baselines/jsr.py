"""JSR (Zamani & Croft, arXiv 1807.05631, 2018), with the language model over items of their WSDM 2020 paper.

Departures: the text of an item is the queries that found it, where the 2020 paper has descriptions. Negative sampling
replaces the softmax over the vocabulary. Dot products replace the networks over u ∘ i and q ∘ i.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from gensr_model.baselines import layers as L
from gensr_model.baselines.base import Baseline
from gensr_model.baselines.inputs import QUERY, USER, BaselineBatch, Domain
from gensr_model.config.base import TASKS, Task
from gensr_model.models import losses
from gensr_model.models.base import LossParts
from gensr_model.models.losses import ItemLoss


class JSR(Baseline):
    """JSR: one item vector matches the user's vector and predicts the words of queries that find the item.

    A search is ranked by the likelihood of the query given the item, log p(q | i) up to a constant of the query: the
    mean over its words of w · tanh(W i + b).

    The likelihood by negative sampling is not normalised: an item that no query found would seem to predict every word.
    The pairwise loss of the 2018 paper (``bpr``), which both tasks have, compares items with each other.

    Args:
        search_weight: weight of search's pairwise loss, relative to that of recommendation.
        word_weight: weight of the reconstruction of queries.
        word_negatives: uniformly drawn words for each word of a query.
    """

    reads: ClassVar[frozenset[str]] = frozenset({USER, QUERY})
    tasks: ClassVar[tuple[Task, ...]] = TASKS

    def __init__(
        self, domain: Domain, dim: int = 64, search_weight: float = 1.0, word_weight: float = 1.0,
        word_negatives: int = 5, loss: ItemLoss = "bpr",
    ) -> None:  # fmt: skip
        super().__init__()
        self.item_loss = loss
        self.users = L.embedding(domain.n_users, dim)
        self.items = L.ItemEmbedding(domain.n_items, dim)
        self.words = L.word_embedding(domain, dim)
        self.tell = nn.Linear(dim, dim)
        self.weights = {"search": search_weight, "words": word_weight}
        self.word_negatives = word_negatives

    def _word_states(self, items: Tensor) -> Tensor:
        """(..., d) item vectors → (..., d): tanh(W i + b), which predicts words."""
        return torch.tanh(self.tell(items))

    def score(self, batch: BaselineBatch) -> Tensor:
        """(B, C) u · i for recommendation, log-likelihood of the query for search."""
        match = L.dot(self.users(batch.user), self.items(batch.candidates))
        likelihood = L.dot(L.mean_words(self.words, batch.query), self._word_states(self.items(batch.candidates)))
        return torch.where((batch.task == 0).unsqueeze(1), match, likelihood)

    def catalogue_scores(self, batch: BaselineBatch) -> Tensor:
        """(B, I) scores of every item, as in ``score``."""
        table = self.items.table.weight
        match = self.users(batch.user) @ table.T
        likelihood = L.mean_words(self.words, batch.query) @ self._word_states(table).T
        return torch.where((batch.task == 0).unsqueeze(1), match, likelihood)

    def loss(self, batch: BaselineBatch) -> LossParts:
        """The sum of both tasks' item losses and of the reconstruction of queries from the items that they found."""
        asked = batch.task == 1
        word_states = self._word_states(self.items(batch.candidates[asked, 0]))
        words = L.word_loss(word_states, batch.query[asked], self.words, self.word_negatives)
        return losses.total(dict(zip(TASKS, self._ranked(batch, asked), strict=True)) | {"words": words}, self.weights)

    def _ranked(self, batch: BaselineBatch, asked: Tensor) -> tuple[Tensor, Tensor]:
        """(R,) item loss of each recommendation, and (S,) item loss of each search."""
        if self.item_loss != "catalogue":
            each = losses.candidate_loss(self.item_loss, self.score(batch))
            return each[~asked], each[asked]
        table, positive = self.items.table.weight, batch.candidates[:, 0]
        users, queries = self.users(batch.user[~asked]), L.mean_words(self.words, batch.query[asked])
        return (
            losses.catalogue_ce(users, table, positive[~asked]),
            losses.catalogue_ce(queries, self._word_states(table), positive[asked]),
        )
