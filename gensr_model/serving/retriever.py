"""The first step of serving without candidates: choose the items of the catalogue that GenSR scores."""

from __future__ import annotations

from itertools import chain, zip_longest

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from gensr_model.config.model import TextConfig
from gensr_model.data.bm25 import best_matches, index_texts, item_texts
from gensr_model.data.prepared import IntArray
from gensr_model.serving.nearest import APPROXIMATE_ABOVE, nearest

LIMIT = 200


class Retriever:
    """Chooses LightGCN's nearest items and BM25's best matches, in turns.

    Args:
        item: (I, d) LightGCN vectors, zero for an item without a training edge: LightGCN never retrieves such an item.
        bought: (I,) number of training histories with an item.
        items, text: the catalogue, and the fields of it that BM25 reads.
        approximate_above: number of items above which LightGCN's nearest items are approximate.
    """

    def __init__(
        self, item: Tensor, bought: Tensor, items: pa.Table, text: TextConfig,
        approximate_above: int = APPROXIMATE_ABOVE,
    ) -> None:  # fmt: skip
        self.item, self.warm = item, item.any(dim=1)
        self._nearest = nearest(item, approximate_above)
        self._by_bought = np.argsort(-bought.numpy().astype(np.int64), kind="stable")
        self._index = index_texts(item_texts(items, text))

    def find(
        self,
        history: IntArray,
        user: Tensor | None,
        query: str | None,
        limit: int = LIMIT,
        left_out: IntArray | None = None,
    ) -> IntArray:
        """At most ``limit`` distinct item_idx.

        LightGCN ranks by the user's vector (d,) if there is one, else by the mean vector of the history. BM25 ranks
        only with a query. Where both give fewer than ``limit`` items, the most bought items follow.

        Args:
            left_out: item_idx that are not wanted. By default the history without a query, and nothing with one: buying
                an item again needs no recommendation.
        """
        if left_out is None:
            left_out = np.empty(0, np.int64) if query else history
        rankings = [self._near(history, user, left_out, limit), self._matching(query, limit)]
        turns = chain.from_iterable(zip_longest(*rankings))
        unwanted = set(left_out.tolist())
        most_bought = self._by_bought[: limit + len(unwanted)].tolist()  # of a million items the first are enough
        rest = (item for item in most_bought if item not in unwanted)
        chosen = dict.fromkeys(item for item in turns if item is not None)
        for item in rest:
            if len(chosen) >= limit:
                break
            chosen.setdefault(item)
        return np.fromiter(chosen, np.int64, len(chosen))[:limit]

    def _near(self, history: IntArray, user: Tensor | None, left_out: IntArray, limit: int) -> list[int]:
        if user is None:
            own = torch.from_numpy(history)
            own = own[self.warm[own]]
            if len(own) == 0:
                return []
            user = self.item[own].mean(dim=0)
        return self._nearest.find(user, limit, left_out).tolist()

    def _matching(self, query: str | None, limit: int) -> list[int]:
        if not query:
            return []
        _, item, score = best_matches(self._index, [query], limit)
        ranked: list[int] = item[np.lexsort((item, -score))][:limit].tolist()
        return ranked
