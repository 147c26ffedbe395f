"""The titles of models, and their order in tables."""

from __future__ import annotations

from collections.abc import Iterable

from gensr_model.config.variants import VARIANTS

MODELS = {
    "gensr": "GenSR",
    "two_head": "Two heads",
    "unisar": "UniSAR",
    "popularity": "Popularity",
    "item_knn": "Item-kNN",
    "lightgcn": "LightGCN",
    "bm25": "BM25",
    "same_query": "Same query",
    "query_count": "Query count",
    "query_user": "Query count and history",
    **{name: variant.title for name, variant in VARIANTS.items()},
}
_PLANES = {
    "inputs": "Input (X, Y)",
    "inputs_without_query": "Input without the query",
    "gensr_untrained": "GenSR, untrained",
}


def in_order(names: Iterable[str]) -> list[str]:
    """Models in the order of ``MODELS``, with GenSR first and unknown models last: JSON keeps no order."""
    known = {name: place for place, name in enumerate(MODELS)}
    return sorted(names, key=lambda name: known.get(name, len(known)))


def model_title(name: str) -> str:
    """The title of a model, or of another plane of Figure 3."""
    return MODELS.get(name, _PLANES.get(name, name))
