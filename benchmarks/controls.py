"""Controls for Query-SeqRec: the model without the parts that may make it the best baseline.

Name them in ``rerank.systems`` of ``compare/rerank-table`` as ``benchmarks.controls:WITHOUT_QUERIES`` and
``benchmarks.controls:WITHOUT_SEARCHES``, with the repository's root importable where the flow runs. Everything else is
Query-SeqRec's: its loss over the whole catalogue, its encoder, its budget.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from gensr_model.baselines.base import BaselineSpec
from gensr_model.baselines.inputs import REC, BaselineBatch, Domain
from gensr_model.baselines.query_seqrec import QuerySeqRec
from gensr_model.baselines.registry import LEARNING


class WithoutQueries(QuerySeqRec):
    """Query-SeqRec with items found by search in the sequence, but empty query places and no augmentation."""

    def __init__(self, domain: Domain, dim: int = 64, dropout: float = 0.2) -> None:
        super().__init__(domain, dim, dropout=dropout, replace=0.0)

    def encode(self, items: Tensor, queries: Tensor, mask: Tensor, searched: Tensor) -> Tensor:
        return super().encode(items, queries, mask, torch.zeros_like(searched))


class WithoutSearches(QuerySeqRec):
    """Query-SeqRec that reads only the history of recommendations, as SASRec does."""

    reads: ClassVar[frozenset[str]] = frozenset({REC})

    def __init__(self, domain: Domain, dim: int = 64, dropout: float = 0.2) -> None:
        super().__init__(domain._replace(n_words=1), dim, dropout=dropout, replace=0.0)  # padding alone

    def state(self, batch: BaselineBatch) -> Tensor:
        history = batch.rec_history
        nothing = torch.zeros_like(history.mask)
        return self.encode(history.item, history.item.new_zeros(*history.item.shape, 1), history.mask, nothing)


WITHOUT_QUERIES = BaselineSpec(WithoutQueries, "Query-SeqRec without queries", "control", LEARNING)
WITHOUT_SEARCHES = BaselineSpec(WithoutSearches, "Query-SeqRec without searches", "control", LEARNING)
