"""Negatives drawn without a random state: a draw depends only on (seed, protocol, sample_id, number of the draw).

The numbers are SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014). A
stream's n-th number is a mix of ``start + n * GAMMA``, so arrays of numbers need none of the earlier ones. The numbers
are the same on every machine, in any order and with any number of threads.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
UIntArray = npt.NDArray[np.uint64]

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_KEYS = np.uint64(0x6B65797370657269)  # sets the stream of keys apart from that of tickets
_SPARE = 16  # extra draws of the first round, after which most samples are complete
_PLACE_BITS = 20  # of a sort key, below the item: where in the row it was drawn
_CELLS = 2_000_000  # keys held at once where every item of a sample gets one


def mix(values: UIntArray) -> UIntArray:
    """SplitMix64's finaliser. Any shape → the same shape."""
    z = values.copy()
    z ^= z >> np.uint64(30)
    z *= np.uint64(0xBF58476D1CE4E5B9)
    z ^= z >> np.uint64(27)
    z *= np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return z


def numbers(start: UIntArray, first: int, stop: int) -> UIntArray:
    """Numbers ``first`` .. ``stop - 1`` of each stream: (n,) starts to (n, stop - first)."""
    steps = np.arange(first + 1, stop + 1, dtype=np.uint64) * _GAMMA
    return mix(start[:, None] + steps)


def streams(seed: int, salt: int, sample_ids: list[str]) -> UIntArray:
    """(n,) start of each sample's stream. Ids are 16 hexadecimal digits, and ``salt`` differs by protocol."""
    sample = np.frombuffer(bytes.fromhex("".join(sample_ids)), ">u8").astype(np.uint64)
    root = mix(np.array([seed % 2**64], np.uint64))
    return mix((sample ^ root) + np.uint64(salt) * _GAMMA)


class Negatives:
    """Draws lists of distinct items that the user has not met.

    Args:
        items: size I of the catalogue.
        met: sorted keys ``user_idx * I + item_idx`` of all items that the samples' users met.
        weights: (I,) positive integers; an item's chance is in proportion to its weight. None for equal chances.
        count: items of a list. Every user must have at least ``count`` items that are not met.
    """

    def __init__(self, items: int, met: IntArray, weights: IntArray | None, count: int) -> None:
        self.items, self.met, self.weights, self.count = items, met, weights, count
        self.ends = None if weights is None else np.cumsum(weights)  # an item's tickets end before

    def fill(self, start: UIntArray, user: IntArray, lists: IntArray) -> IntArray:
        """Complete lists (n, count) of item_idx.

        ``lists`` hold the items that a sample already has, then -1; these items stay first. New items are drawn in
        rounds, each with twice as many tickets. Drawing again after a met or repeated item equals drawing without
        replacement.

        Args:
            start: (n,) from ``streams``. user: (n,) user_idx.
        """
        lists = lists.copy()
        first, draws = 0, self.count + _SPARE
        short = np.flatnonzero(lists[:, -1] < 0)
        while len(short):
            if self.weights is not None and draws > self.items:  # then one key per item is less work
                lists[short] = self._by_key(start[short], user[short], lists[short])
                break
            drawn = self._drawn(numbers(start[short], first, first + draws))
            lists[short] = self._with_fresh(lists[short], drawn, user[short])
            first, draws = first + draws, 2 * draws
            short = short[lists[short, -1] < 0]
        return lists

    def _drawn(self, number: UIntArray) -> IntArray:
        """The items of tickets. The modulo favors no item by more than I / 2^64."""
        if self.ends is None:
            return (number % np.uint64(self.items)).astype(np.int64)
        return np.searchsorted(self.ends, (number % np.uint64(self.ends[-1])).astype(np.int64), side="right")

    def _known(self, user: IntArray, item: IntArray) -> npt.NDArray[np.bool_]:
        """(n, k) whether the user (n,) met the item (n, k)."""
        if not len(self.met):
            return np.zeros(item.shape, bool)
        key = user[:, None] * self.items + item
        place = np.minimum(np.searchsorted(self.met, key), len(self.met) - 1)
        return self.met[place] == key

    def _with_fresh(self, lists: IntArray, drawn: IntArray, user: IntArray) -> IntArray:
        """``lists`` (n, count), followed by the first of ``drawn`` (n, draws) that are neither met nor in the list."""
        offered = np.concatenate([lists, drawn], axis=1) if (lists[:, 0] >= 0).any() else drawn  # (n, k)
        keys = offered << _PLACE_BITS | np.arange(offered.shape[1])
        keys.sort(axis=1)  # an item's first place comes first
        item = keys >> _PLACE_BITS
        fresh = ~self._known(user, item) & (item >= 0)
        fresh[:, 1:] &= item[:, 1:] != item[:, :-1]
        taken = np.empty_like(fresh)
        np.put_along_axis(taken, keys & ((1 << _PLACE_BITS) - 1), fresh, axis=1)
        place = np.cumsum(taken, axis=1, dtype=np.int32)
        taken &= place <= self.count
        row, column = np.nonzero(taken)
        out = np.full_like(lists, -1)
        out[row, place[row, column] - 1] = offered[row, column]
        return out

    def _by_key(self, start: UIntArray, user: IntArray, lists: IntArray) -> IntArray:
        """The same distribution in one step, with one random key per item.

        With u uniform, the items with the smallest -ln(u) / weight are a draw without replacement in proportion to
        weight (Efraimidis and Spirakis 2006).
        """
        assert self.weights is not None
        rows = max(1, _CELLS // self.items)
        for at in range(0, len(lists), rows):
            part = slice(at, at + rows)
            bits = numbers(mix(start[part] ^ _KEYS), 0, self.items) >> np.uint64(11)  # (n, I) of 53 bits
            key = -np.log((bits + np.uint64(1)) / 2.0**53) / self.weights
            out = np.broadcast_to(np.arange(self.items), key.shape)
            key[self._known(user[part], out)] = np.inf
            row, place = np.nonzero(lists[part] >= 0)
            key[row, lists[part][row, place]] = np.inf
            order = np.argsort(key, axis=1, kind="stable")  # (n, I)
            have = (lists[part] >= 0).sum(axis=1, keepdims=True)
            places = np.arange(self.count)
            drawn = np.take_along_axis(order, np.maximum(places - have, 0), axis=1)
            lists[part] = np.where(places < have, lists[part], drawn)
        return lists
