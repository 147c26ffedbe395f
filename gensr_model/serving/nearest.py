"""LightGCN's nearest items to a vector: by all products, or by an approximate index of a large catalogue."""

from __future__ import annotations

import threading
from typing import Any, Protocol, cast

import numpy as np
import torch
from torch import Tensor

from gensr_model.data.prepared import IntArray
from gensr_model.serving.top_n import best_places

# Below it all products take some milliseconds. `benchmarks.serve` prints both times and the recall at a million items.
APPROXIMATE_ABOVE = 200_000
_TRAINED = 50_000  # items that the index learns its codes from
_RANKED_AGAIN = 32  # items by their codes, for each wanted one, whose exact products decide


class Nearest(Protocol):
    """Finds the items (n,) with the largest products with a vector (d,), largest first."""

    def find(self, vector: Tensor, limit: int, left_out: IntArray) -> IntArray:
        """At most ``limit`` item_idx without those of ``left_out``. An item with a zero vector is never there."""


def nearest(item: Tensor, approximate_above: int = APPROXIMATE_ABOVE) -> Nearest:
    """Search among vectors (I, d). It is approximate above ``approximate_above`` vectors that are not zero."""
    many = int(item.any(dim=1).sum()) > approximate_above
    return Approximate(item) if many and item.shape[1] % 2 == 0 else Exact(item)


class Exact:
    """All products. Ties are in order of item_idx."""

    def __init__(self, item: Tensor) -> None:
        self._item, self._cold = item, ~item.any(dim=1)

    def find(self, vector: Tensor, limit: int, left_out: IntArray) -> IntArray:
        """As ``Nearest``."""
        score = (self._item @ vector).masked_fill(self._cold, -torch.inf).numpy()
        score[left_out] = -np.inf
        return best_places(score, limit)


class Approximate:
    """An index of faiss: products with 4-bit codes choose items, whose exact products decide. d is even."""

    def __init__(self, item: Tensor) -> None:
        import faiss  # a second of import, for large catalogues only

        warm = item.any(dim=1)
        self._items = torch.nonzero(warm).squeeze(1).numpy()  # item_idx of the index's rows
        vectors = item[warm].numpy()
        width = vectors.shape[1]
        description = f"PQ{width // 2}x4fs,Refine(SQfp16)"  # stored vectors have half precision
        # Any: the stubs lack the attributes of this kind of index.
        self._index = cast(Any, faiss.index_factory(width, description, faiss.METRIC_INNER_PRODUCT))
        drawn = np.random.default_rng(0).choice(len(vectors), min(_TRAINED, len(vectors)), replace=False)
        self._index.train(vectors[drawn])
        self._index.add(vectors)
        self._index.k_factor = _RANKED_AGAIN
        self._lock = threading.Lock()

    def find(self, vector: Tensor, limit: int, left_out: IntArray) -> IntArray:
        """As ``Nearest``, but some of the items may be others with nearly as large products."""
        wanted = min(limit + len(left_out), len(self._items))
        with self._lock:
            _, rows = self._index.search(vector.unsqueeze(0).numpy(), wanted)
        found = self._items[rows[0][rows[0] >= 0]]
        return found[np.isin(found, left_out, invert=True)][:limit]
