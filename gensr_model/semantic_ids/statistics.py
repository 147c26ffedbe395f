"""Quality of codes: use of the codebooks, collisions, and titles under the same prefix."""

from __future__ import annotations

from typing import Any

import numpy as np

from gensr_model.data.prepared import IntArray
from gensr_model.semantic_ids.codes import bucket_sizes

_PREFIXES, _TITLES = 10, 6


def collision_rate(codes: IntArray) -> float:
    """1 − distinct codes / items, of codes (I, L) before they are numbered."""
    return 1.0 - len(np.unique(codes, axis=0)) / len(codes)


def statistics(codes: IntArray, size: int, titles: list[str], seed: int) -> dict[str, Any]:
    """The content of ``report.json``, for codes (I, L) of ``size`` per level, before they are numbered.

    ``pairs`` counts pairs of items with equal codes; ``random_pairs`` is the expected count for random codes.
    """
    items, levels = codes.shape
    sizes = bucket_sizes(codes)
    return {
        "levels": [_level(column, size) for column in codes.T],
        "collisions": collision_rate(codes),
        "pairs": int((sizes - 1).sum()) // 2,
        "random_pairs": items * (items - 1) / 2 / size**levels,
        "largest_bucket": int(sizes.max()),
        "prefixes": _prefixes(codes, titles, seed),
    }


def metrics(report: dict[str, Any]) -> dict[str, float]:
    """The numbers of ``statistics`` under flat names, for MLflow."""
    flat = {name: float(report[name]) for name in ("collisions", "pairs", "random_pairs", "largest_bucket")}
    for level, values in enumerate(report["levels"], start=1):
        flat |= {f"{name}_{level}": float(values[name]) for name in ("usage", "perplexity")}
    return flat


def _level(column: IntArray, size: int) -> dict[str, float]:
    """Share of codes that an item has, and exp of the entropy of the codes. It is ``size`` for equal frequencies."""
    share = np.bincount(column, minlength=size) / len(column)
    share = share[share > 0]
    return {"usage": len(share) / size, "perplexity": float(np.exp(-(share * np.log(share)).sum()))}


def _prefixes(codes: IntArray, titles: list[str], seed: int) -> list[dict[str, Any]]:
    """Ten prefixes of all codes but the last, with titles, drawn by the seed among those that several items share."""
    prefix = codes[:, : max(1, codes.shape[1] - 1)]
    distinct, bucket, sizes = np.unique(prefix, axis=0, return_inverse=True, return_counts=True)
    wanted = np.flatnonzero(sizes > 1) if (sizes > 1).any() else np.arange(len(distinct))
    rng = np.random.default_rng([seed, 4])
    drawn = np.sort(rng.choice(wanted, min(_PREFIXES, len(wanted)), replace=False))
    rows = []
    for each in drawn:
        inside = np.flatnonzero(bucket.ravel() == each)
        shown = [titles[item] for item in inside[:_TITLES]]
        rows.append({"prefix": distinct[each].tolist(), "items": len(inside), "titles": shown})
    return rows
