"""The fold of a user's purchase of an item, for cross-fitting. It is the same on every machine."""

from __future__ import annotations

from torch import Tensor

_LOW = 0x7FFFFFFF  # 31 bits: products with a 32-bit factor then stay within int64


def fold_of(user: Tensor, item: Tensor, folds: int) -> Tensor:
    """Fold 0 .. ``folds - 1`` of each pair: (n,) user_idx and item_idx, each below 2^31 → (n,)."""
    mixed = (user * 0x9E3779B1 + item) & _LOW
    for factor in (0x85EBCA6B, 0xC2B2AE35):
        mixed = ((mixed ^ (mixed >> 15)) * factor) & _LOW
    return (mixed ^ (mixed >> 15)) % folds
