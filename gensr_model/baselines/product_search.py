"""Personalised product search in one latent space: QEM, HEM (Ai et al. 2017), AEM and ZAM (Ai et al. 2019).

Words, items and queries share a space. The score of item i for query q of user u is (½ q + ½ u) · i. The four models
differ in u.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from gensr_model.baselines import layers as L
from gensr_model.baselines.base import DotBaseline
from gensr_model.baselines.inputs import QUERY, SRC, TEXT, USER, BaselineBatch, Domain
from gensr_model.config.base import Task
from gensr_model.models import losses
from gensr_model.models.base import LossParts
from gensr_model.models.losses import ItemLoss


class QEM(DotBaseline):
    """QEM has no user: the score is q · i. In every model of the family an item also predicts the words of its text.

    Args:
        words: number of words of the positive's text to predict per sample.
        word_weight: weight of the language-model loss.
    """

    reads: ClassVar[frozenset[str]] = frozenset({QUERY, TEXT})
    tasks: ClassVar[tuple[Task, ...]] = ("search",)

    def __init__(
        self, domain: Domain, dim: int = 64, words: int = 8, word_negatives: int = 5, word_weight: float = 1.0,
        loss: ItemLoss = "bce",
    ) -> None:  # fmt: skip
        super().__init__(loss)
        self.items = L.ItemEmbedding(domain.n_items, dim)
        self.words = L.word_embedding(domain, dim)
        self.query = L.QueryEncoder(self.words, dim)
        self.text = L.ItemWords(domain)
        self.words_per_sample, self.word_negatives, self.word_weight = words, word_negatives, word_weight

    def intent(self, query: Tensor, batch: BaselineBatch) -> Tensor:
        """(B, d) the vector for the product with items, from query vectors (B, d)."""
        del batch
        return query

    def state(self, batch: BaselineBatch) -> Tensor:
        return self.intent(self.query(batch.query), batch)

    def loss(self, batch: BaselineBatch) -> LossParts:
        positive = batch.candidates[:, 0]
        words = self.text.sample(positive, self.words_per_sample)
        text = {"words": self._word_loss(self.items(positive), words)} | self._more(batch, words)
        rows = {self.item_loss: self.loss_of_items(batch)} | text
        return losses.total(rows, dict.fromkeys(text, self.word_weight))

    def _word_loss(self, vectors: Tensor, words: Tensor) -> Tensor:
        return L.word_loss(vectors, words, self.words, self.word_negatives)

    def _more(self, batch: BaselineBatch, words: Tensor) -> dict[str, Tensor]:
        """Further language-model losses of a subclass."""
        del batch, words
        return {}


class HEM(QEM):
    """HEM: u is a learned vector per user, which also predicts the words of the items that the user bought."""

    reads: ClassVar[frozenset[str]] = frozenset({QUERY, TEXT, USER})

    def __init__(self, domain: Domain, dim: int = 64, **rest: Any) -> None:
        super().__init__(domain, dim, **rest)
        self.users = L.embedding(domain.n_users, dim)

    def intent(self, query: Tensor, batch: BaselineBatch) -> Tensor:
        return 0.5 * query + 0.5 * self.users(batch.user)

    def _more(self, batch: BaselineBatch, words: Tensor) -> dict[str, Tensor]:
        return {"user_words": self._word_loss(self.users(batch.user), words)}


class AEM(QEM):
    """AEM: u attends to the bought items given the query.

    The attention is f(q, i) = Σ_h w_h (i · tanh(W_h q + b_h)).
    """

    reads: ClassVar[frozenset[str]] = frozenset({QUERY, TEXT, SRC})
    zero_attention: ClassVar[bool] = False

    def __init__(self, domain: Domain, dim: int = 64, heads: int = 4, **rest: Any) -> None:
        super().__init__(domain, dim, **rest)
        self.ask = nn.Linear(dim, heads * dim)
        self.mix = nn.Parameter(torch.full((heads,), heads**-0.5))

    def user(self, query: Tensor, bought: Tensor, mask: Tensor) -> Tensor:
        """(B, d), (B, H, d), (B, H) → (B, d). Zeros for an empty history."""
        asked = torch.tanh(self.ask(query)).view(len(query), len(self.mix), -1)  # (B, heads, d)
        scores = torch.einsum("bhd,bnd,h->bn", asked, bought, self.mix)
        if not self.zero_attention:
            return L.attention_pool(scores, bought, mask)
        # The zero vector has score 0 and adds nothing to the sum: it only reduces the other weights.
        scores = torch.cat([scores, scores.new_zeros(len(scores), 1)], dim=1)
        bought = torch.cat([bought, bought.new_zeros(len(bought), 1, bought.shape[2])], dim=1)
        return L.attention_pool(scores, bought, torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1))

    def intent(self, query: Tensor, batch: BaselineBatch) -> Tensor:
        bought = batch.src_history
        return 0.5 * query + 0.5 * self.user(query, self.items.embed_history(bought), bought.mask)


class ZAM(AEM):
    """ZAM: AEM with an extra zero vector, so that a query unrelated to the history is not personalised."""

    zero_attention: ClassVar[bool] = True
