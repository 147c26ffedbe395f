"""Transformers of product search over the query and bought items: TEM (Bi et al. 2020), CoPPS (Dai et al. 2023)."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from gensr_model.baselines import augment
from gensr_model.baselines import layers as L
from gensr_model.baselines.inputs import QUERY, SRC, TEXT, BaselineBatch, Domain
from gensr_model.baselines.product_search import QEM
from gensr_model.models import losses
from gensr_model.models.base import LossParts


class TEM(QEM):
    """TEM: QEM whose intent is a transformer's output, at the place of the query in [latest purchases; query]."""

    reads: ClassVar[frozenset[str]] = frozenset({QUERY, TEXT, SRC})

    def __init__(
        self,
        domain: Domain,
        dim: int = 64,
        latest: int = 20,
        layers: int = 1,
        heads: int = 8,
        feed_forward: int = 512,
        dropout: float = 0.1,
        **rest: Any,
    ) -> None:
        super().__init__(domain, dim, **rest)
        self.latest = latest
        self.events = L.HistoryEmbedding(dim, latest, dropout)
        self.encoder = L.Transformer(dim, heads, layers, dropout, feed_forward)

    def encode(self, last: Tensor, bought: Tensor, mask: Tensor) -> Tensor:
        """(B, d) the output at the place of ``last`` (B, d) after purchases (B, H, d), (B, H)."""
        bought, mask = bought[:, -self.latest :], mask[:, -self.latest :]
        sequence = torch.cat([self.events(bought, mask), last.unsqueeze(1)], dim=1)
        output: Tensor = self.encoder(sequence, torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1))[:, -1]
        return output

    def intent(self, query: Tensor, batch: BaselineBatch) -> Tensor:
        bought = batch.src_history
        return self.encode(query, self.items.embed_history(bought), bought.mask)


class CoPPS(TEM):
    """CoPPS: TEM with an InfoNCE loss between two changed views of one history.

    A view crops, masks or reorders a run of ``share`` of the history, or substitutes ``share`` of its items. Its vector
    is the output at the place of a learned token. Departure: the substitute is an item that the same query found in the
    batch, because there is no knowledge graph as in the paper.
    """

    def __init__(
        self,
        domain: Domain,
        dim: int = 64,
        share: float = 0.5,
        tau: float = 0.1,
        contrast_weight: float = 0.1,
        **rest: Any,
    ) -> None:
        super().__init__(domain, dim, **rest)
        self.token, self.hidden = (nn.Parameter(torch.randn(dim) * 0.02) for _ in range(2))
        self.share, self.tau, self.contrast_weight = share, tau, contrast_weight

    def loss(self, batch: BaselineBatch) -> LossParts:
        ranked = super().loss(batch)
        contrast = losses.total({"contrast": self.contrast(batch)})
        total = ranked.total + self.contrast_weight * contrast.total
        return LossParts(total, ranked.parts | contrast.parts)

    def contrast(self, batch: BaselineBatch) -> Tensor:
        """(n,) loss of the n samples with at least two purchases. With fewer, both views would be equal."""
        bought = batch.src_history
        rows = bought.mask.sum(dim=1) > 1
        if not rows.any():
            none = self.token.expand(0, -1)  # with a gradient, for which other processes wait
            return losses.info_nce(none, none, self.tau)
        items, words, mask = bought.item[rows], bought.query[rows], bought.mask[rows]
        one, two = (self.view(items, words, mask) for _ in range(2))
        return losses.info_nce(one, two, self.tau)

    def view(self, items: Tensor, words: Tensor, mask: Tensor) -> Tensor:
        """(n, d) vectors of histories with a random change per sample.

        Args:
            items: (n, H) item_idx. words: (n, H, L) words of their queries. mask: (n, H).
        """
        crop, hide, shuffle, substitute = (
            torch.randint(4, (len(items), 1), device=items.device) == way for way in range(4)
        )
        run = augment.span(mask, self.share)
        items = torch.where(shuffle, items.gather(1, augment.reorder(run)), items)
        drawn = mask & (torch.rand(mask.shape, device=mask.device) < self.share) & substitute
        others = items.clone()
        others[mask] = items[mask][augment.peer(augment.query_key(words[mask]))]
        vectors = self.items(torch.where(drawn, others, items))
        vectors = torch.where((hide & run).unsqueeze(-1), self.hidden, vectors)
        mask = torch.where(crop, run, mask)
        return self.encode(self.token.expand(len(items), -1), vectors * mask.unsqueeze(-1), mask)
