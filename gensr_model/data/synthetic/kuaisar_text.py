"""Anonymised words of the generated KuaiSAR world: captions and queries as lists of word ids."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gensr_model.data.synthetic.world import World

LEAF_WORDS, KIND_WORDS, DEPARTMENT_WORDS, GENERAL_WORDS = 10, 2, 4, 300
ASKED_LEAF_WORDS = 7  # people ask with the first ones; captions use all
CAPTION_SLOTS = 8
NAMES_KIND = 0.6  # a caption names the kind of thing this often
LONG_CAPTIONS, NO_CAPTION = 0.02, 0.05
LONG = 400  # further words of a very long caption


class KuaiText(NamedTuple):
    """Word ids by meaning."""

    leaf: np.ndarray  # (leaves, LEAF_WORDS)
    kind: np.ndarray  # (leaves, 4, KIND_WORDS)
    department: np.ndarray  # (departments, DEPARTMENT_WORDS)
    general: np.ndarray  # (GENERAL_WORDS,)


def build_text(world: World, rng: np.random.Generator) -> KuaiText:
    """Ids for every word of the world, shuffled so that an id reveals nothing."""
    leaves, departments = len(world.leaves), len(world.departments)
    shapes = [(leaves, LEAF_WORDS), (leaves, 4, KIND_WORDS), (departments, DEPARTMENT_WORDS), (GENERAL_WORDS,)]
    sizes = [int(np.prod(shape)) for shape in shapes]
    ids = 1 + rng.permutation(sum(sizes))
    parts = np.split(ids, np.cumsum(sizes)[:-1])
    return KuaiText(*(part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)))


def queries(rng: np.random.Generator, world: World, text: KuaiText, item: np.ndarray) -> pa.Array:
    """(n,) keywords like "[20, 34, 3]": one to three words of the leaf that ``item`` (n,) belongs to."""
    n, leaf = len(item), world.leaf[item]
    slots = np.full((n, 4), -1, np.int64)
    asked = text.leaf[leaf, :ASKED_LEAF_WORDS]
    pick = rng.random((n, ASKED_LEAF_WORDS)).argsort(axis=1)[:, :2]
    slots[:, :2] = np.take_along_axis(asked, pick, axis=1)
    slots[:, 2] = text.kind[leaf, world.kind[item], rng.integers(0, KIND_WORDS, n)]
    department = np.array([d for d, _, _ in world.leaves])[leaf]
    slots[:, 3] = text.department[department, rng.integers(0, DEPARTMENT_WORDS, n)]
    slots[rng.random((n, 4)) >= [1.0, 0.4, 0.35, 0.15]] = -1
    return _brackets(rng.permuted(slots, axis=1))


def captions(rng: np.random.Generator, world: World, text: KuaiText, items: np.ndarray | None = None) -> pa.Array:
    """(n,) captions of ``items`` (n,), or of all: three leaf words, often the kind, general words.

    Some are empty, some very long.
    """
    items = np.arange(world.n_items) if items is None else items
    n, leaf = len(items), world.leaf[items]
    slots = np.full((n, CAPTION_SLOTS), -1, np.int64)
    pick = rng.random((n, LEAF_WORDS), np.float32).argsort(axis=1)[:, :3]
    slots[:, :3] = np.take_along_axis(text.leaf[leaf], pick, axis=1)
    slots[:, 3] = text.kind[leaf, world.kind[items], rng.integers(0, KIND_WORDS, n)]
    common = ((1 + np.arange(GENERAL_WORDS)) ** -0.8).cumsum()
    drawn = rng.random((n, CAPTION_SLOTS - 4)) * common[-1]
    slots[:, 4:] = text.general[np.searchsorted(common[:-1], drawn, "right")]
    # One word in five captions belongs to another leaf: a caption alone is not proof.
    stray = rng.random(n) < 0.2
    slots[stray, 2] = text.leaf[rng.integers(0, len(world.leaves), n), 0][stray]
    slots[rng.random(n) >= NAMES_KIND, 3] = -1
    slots[:, 1:3][rng.random((n, 2)) < 0.25] = -1
    slots[rng.random(n) < NO_CAPTION] = -1
    long = rng.random(n) < LONG_CAPTIONS
    return _brackets(rng.permuted(slots, axis=1), long, rng.choice(text.general, (long.sum(), LONG)))


def _brackets(slots: np.ndarray, long: np.ndarray | None = None, more: np.ndarray | None = None) -> pa.Array:
    """(n,) texts "[3, 5]" of the non-negative entries of ``slots`` (n, k), in order.

    The rows marked in ``long`` (n,) go on with the words of ``more`` (marked rows, words).
    """
    used = slots >= 0
    count, words = used.sum(axis=1), slots[used]
    if long is not None and more is not None:
        length = np.where(long, count + more.shape[1], count)
        start = length.cumsum() - length
        tail = np.zeros(length.sum(), bool)
        tail[(start + count)[long][:, None] + np.arange(more.shape[1])] = True
        joined = np.empty(len(tail), np.int64)
        joined[tail], joined[~tail] = more.ravel(), words
        count, words = length, joined
    offsets = np.concatenate([[0], count.cumsum()]).astype(np.int32)
    lists = pa.ListArray.from_arrays(pa.array(offsets), pa.array(words).cast(pa.string()))
    return pc.binary_join_element_wise("[", pc.binary_join(lists, ", "), "]", "")
