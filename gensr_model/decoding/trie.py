"""The valid ids of a catalogue as a prefix tree in compressed rows: the tokens that may come next."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gensr_model.data.prepared import IntArray
from gensr_model.errors import DataError


class TokenTrie(NamedTuple):
    """A prefix tree of N nodes, numbered level by level and within a level by prefix. Node 0 is the root.

    The children of a node are therefore adjacent, and node n > 0 also stands for the edge that leads to it.
    """

    first: Tensor  # (N + 1,): the children of node n are first[n] … first[n + 1] − 1
    token: Tensor  # (N,) token on the edge into a node; −1 for the root
    item: Tensor  # (N,) row of the id that ends here, −1 inside the tree
    depth: int  # length of the longest id

    def to(self, device: torch.device) -> TokenTrie:
        """The same tree on a device."""
        return TokenTrie(self.first.to(device), self.token.to(device), self.item.to(device), self.depth)

    def children(self, node: Tensor) -> Tensor:
        """The number of tokens that may follow each node, in any shape."""
        return self.first[node + 1] - self.first[node]


def build(tokens: npt.NDArray[np.integer], lengths: npt.NDArray[np.integer] | None = None) -> TokenTrie:
    """The tree of the ids ``tokens[i, :lengths[i]]`` (I, L). Without lengths every id has L tokens.

    The tree takes one sort of all ids, then one comparison of neighbors per level.

    Raises:
        DataError: there is no id, an id is empty or has a negative token, two ids are equal, or one id begins another.
            Generation could not decide whether to stop there: end ids of different lengths with the end token.
    """
    if tokens.ndim != 2 or tokens.size == 0:
        raise DataError(
            f"item ids have the shape {tokens.shape}. Give (items, tokens) with at least one item and one token."
        )
    length = np.full(len(tokens), tokens.shape[1]) if lengths is None else np.asarray(lengths)
    if length.shape != (len(tokens),) or length.min() < 1 or length.max() > tokens.shape[1]:
        raise DataError(f"lengths of item ids do not fit. Give {len(tokens)} numbers from 1 to {tokens.shape[1]}.")
    depth = int(length.max())
    inside = np.arange(depth) < length[:, None]  # (I, depth)
    ids = np.where(inside, tokens[:, :depth], -1).astype(np.int64)
    if (ids[inside] < 0).any():
        raise DataError(
            f"item id {int((inside & (ids < 0)).any(axis=1).argmax())} has a negative token. Give token "
            "ids of 0 and above."
        )
    order = np.lexsort(ids.T[::-1])
    ids, inside = ids[order], inside[order]
    # A prefix begins where a row differs from the row before it at that level or above.
    new = np.ones_like(inside)
    new[1:] = np.logical_or.accumulate(ids[1:] != ids[:-1], axis=1)
    _check_distinct(ids, new, inside, order)
    return _number(ids, new & inside, inside, order)


def _check_distinct(ids: IntArray, new: npt.NDArray[np.bool_], inside: npt.NDArray[np.bool_], order: IntArray) -> None:
    # Sorted with −1 after its end, an id comes right before the ids that it begins.
    begins = np.append(~(new[1:] & inside[:-1]).any(axis=1), False)
    if begins.any():
        row = int(begins.argmax())
        first, second = ids[row][inside[row]].tolist(), ids[row + 1][inside[row + 1]].tolist()
        raise DataError(
            f"item {order[row]} has id {first}, which begins the id {second} of item "
            f"{order[row + 1]}. Give every item an id of its own that begins no other."
        )


def _number(ids: IntArray, new: npt.NDArray[np.bool_], inside: npt.NDArray[np.bool_], order: IntArray) -> TokenTrie:
    """Nodes of the sorted ids (I, depth); ``new`` marks the first row of every prefix."""
    per_level = new.sum(axis=0)
    begin = 1 + np.concatenate([[0], np.cumsum(per_level)])  # number of each level's first node
    token, item = np.full(begin[-1], -1, np.int64), np.full(begin[-1], -1, np.int64)
    count = np.zeros(begin[-1], np.int64)
    node = np.zeros(len(ids), np.int64)  # of every row, at the level above
    for level in range(ids.shape[1]):
        fresh = new[:, level]
        here = begin[level] + np.cumsum(fresh) - 1
        count += np.bincount(node[fresh], minlength=len(count))
        token[begin[level] : begin[level + 1]] = ids[fresh, level]
        ends = inside[:, level] & (inside.sum(axis=1) == level + 1)
        item[here[ends]] = order[ends]
        node = here
    first = torch.from_numpy(np.concatenate([[1], 1 + np.cumsum(count)]))
    return TokenTrie(first, torch.from_numpy(token), torch.from_numpy(item), ids.shape[1])
