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
SAYS_KIND = 0.6  # a caption names the kind of thing this often
LONG_CAPTIONS, NO_CAPTION = 0.02, 0.05
LONG = 400  # further words of a very long caption


class KuaiText(NamedTuple):
    """Word ids by meaning."""

    leaf: np.ndarray  # (leaves, LEAF_WORDS)
    kind: np.ndarray  # (leaves, 4, KIND_WORDS)
    department: np.ndarray  # (departments, DEPARTMENT_WORDS)
    general: np.ndarray  # (GENERAL_WORDS,)


def build_text(world: World, rng: np.random.Generator) -> KuaiText:
    """Ids for every word of the world, shuffled so that an id tells nothing."""
    leaves, departments = len(world.leaves), len(world.departments)
    shapes = [
        (leaves, LEAF_WORDS),
        (leaves, 4, KIND_WORDS),
        (departments, DEPARTMENT_WORDS),
        (GENERAL_WORDS,),
    ]
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


def captions(rng: np.random.Generator, world: World, text: KuaiText) -> pa.Array:
    """(items,) captions: three leaf words, often the kind, general words; some empty, some very long."""
    n = world.n_items
    slots = np.full((n, CAPTION_SLOTS), -1, np.int64)
    pick = rng.random((n, LEAF_WORDS)).argsort(axis=1)[:, :3]
    slots[:, :3] = np.take_along_axis(text.leaf[world.leaf], pick, axis=1)
    slots[:, 3] = text.kind[world.leaf, world.kind, rng.integers(0, KIND_WORDS, n)]
    common = (1 + np.arange(GENERAL_WORDS)) ** -0.8
    slots[:, 4:] = rng.choice(text.general, (n, CAPTION_SLOTS - 4), p=common / common.sum())
    # One word in five captions belongs to another leaf: a caption alone is not proof.
    stray = rng.random(n) < 0.2
    slots[stray, 2] = text.leaf[rng.integers(0, len(world.leaves), n), 0][stray]
    slots[rng.random(n) >= SAYS_KIND, 3] = -1
    slots[:, 1:3][rng.random((n, 2)) < 0.25] = -1
    slots[rng.random(n) < NO_CAPTION] = -1
    short = rng.permuted(slots, axis=1)
    long = np.flatnonzero(rng.random(n) < LONG_CAPTIONS)
    result = _brackets(short).to_pylist()
    more = _brackets(rng.choice(text.general, (len(long), LONG))).to_pylist()
    for place, tail in zip(long.tolist(), more, strict=True):
        result[place] = f"{result[place][:-1]}, {tail[1:]}" if result[place] != "[]" else tail
    return pa.array(result)


def _brackets(slots: np.ndarray) -> pa.Array:
    """(n,) texts "[3, 5]" of the non-negative entries of ``slots`` (n, k), in order."""
    used = slots >= 0
    offsets = np.concatenate([[0], used.sum(axis=1).cumsum()]).astype(np.int32)
    words = pa.array(slots[used]).cast(pa.string())
    joined = pc.binary_join(pa.ListArray.from_arrays(pa.array(offsets), words), ", ")
    return pc.binary_join_element_wise("[", joined, "]", "")
