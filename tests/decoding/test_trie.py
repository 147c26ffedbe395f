"""The tree holds exactly the ids it was built from."""

from __future__ import annotations

import numpy as np
import pytest

from gensr_model.decoding.trie import TokenTrie, build
from gensr_model.errors import DataError


def paths(trie: TokenTrie) -> dict[tuple[int, ...], int]:
    """Every id in the tree and the item at its end, by walking it."""
    result: dict[tuple[int, ...], int] = {}
    stack: list[tuple[int, tuple[int, ...]]] = [(0, ())]
    while stack:
        node, prefix = stack.pop()
        if trie.item[node] >= 0:
            result[prefix] = int(trie.item[node])
        stack += [
            (child, (*prefix, int(trie.token[child])))
            for child in range(int(trie.first[node]), int(trie.first[node + 1]))
        ]
    return result


@pytest.mark.parametrize("length", [1, 2, 3, 5])
def test_ids_of_one_length(length: int) -> None:
    rng = np.random.default_rng(length)
    ids = np.unique(rng.integers(7, size=(60, length)), axis=0)
    ids = ids[rng.permutation(len(ids))]
    trie = build(ids)
    assert paths(trie) == {tuple(row): number for number, row in enumerate(ids.tolist())}
    assert trie.depth == length
    assert len(trie.item) == 1 + sum(len({tuple(row[: n + 1]) for row in ids.tolist()}) for n in range(length))


def test_ids_of_many_lengths_ignore_what_stands_after_their_end() -> None:
    rng = np.random.default_rng(3)
    tokens, lengths = rng.integers(2, 9, size=(80, 4)), rng.integers(1, 5, size=80)
    tokens[np.arange(80), lengths - 1] = 1  # the end token
    tokens[np.arange(4) >= lengths[:, None]] = -7
    distinct = {tuple(row[:n]): None for row, n in zip(tokens.tolist(), lengths.tolist(), strict=True)}
    short = np.array([[*row, *[99] * (4 - len(row))] for row in distinct])
    trie = build(short, np.array([len(row) for row in distinct]))
    assert paths(trie) == {row: number for number, row in enumerate(distinct)}
    assert trie.depth == max(map(len, distinct))


@pytest.mark.parametrize(
    ("tokens", "lengths", "says"),
    [
        ([[1, 2], [3, 4], [1, 2]], None, r"item 0 has id \[1, 2\].* item 2"),
        ([[5, 6], [5, 0]], [2, 1], r"item 1 has id \[5\], which begins the id \[5, 6\] of item 0"),
        ([[5, 6], [4, -2]], None, "item id 1 has a negative token"),
        ([[5, 6], [4, 2]], [2, 0], "lengths of item ids"),
        (np.empty((0, 2), np.int64), None, "at least one"),
    ],
)
def test_ids_that_cannot_be_told_apart_are_refused(tokens: object, lengths: object, says: str) -> None:
    with pytest.raises(DataError, match=says):
        build(np.asarray(tokens), None if lengths is None else np.asarray(lengths))
