"""The generated world: items in a category tree, users with tastes, and the order in which users choose items.

Three signals are built in, each invisible to the others:

- *style*: a latent class of items that some users prefer. No word or category reveals it; co-occurrence does.
- *leaf category*: an item's words reveal it, also for items that hardly anybody has chosen yet.
- *intent of the moment*: the leaf that a user wants right now. A query reveals it, the history only in part.

Popularity is Zipf-like, and users choose new items more often soon after their release. An intent tends to stay or to
move on to a companion category, and tastes drift along a user's life.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from gensr_model.config.data import GeneratedSource
from gensr_model.data.synthetic.vocabulary import TREE, invented

STYLES = 6
TASTES = 4  # leaves a user likes; the last one joins late in the user's life, the first one fades
STAY, COMPANION, TASTE = 0.35, 0.15, 0.40  # what moves the intent; the rest is a leaf at random
STYLE_FIDELITY = 0.75
DRAWS = 8  # items considered per choice: the newest-and-unmet among them wins more often
USERS_PER_CHUNK = 4_000  # bounds the memory of the choice at any scale
THREADS = 2
MET_SLOTS = 2**14  # places of a user's memory of items taken; with more items, some pass for taken that are not
ITEMS_PER_LEAF, MOST_LEAVES = 86, 2_000  # a large catalogue has more leaves than the tree of words.py


class World(NamedTuple):
    """Items and categories; every array is aligned with its own axis."""

    leaf: np.ndarray  # (items,) int16: leaf category of an item
    kind: np.ndarray  # (items,) int8: which of its leaf's kinds of product
    style: np.ndarray  # (items,) int8: latent
    weight: np.ndarray  # (items,) float64: Zipf-like popularity, sums to 1
    release: np.ndarray  # (items,) float64 in [0, 1): when it appears, as a share of the period
    companion: np.ndarray  # (leaves,) int16: where an intent moves on to
    departments: list[str]
    leaves: list[tuple[int, str, list[str]]]  # (department, name, kinds)

    @property
    def n_items(self) -> int:
        return len(self.leaf)


class Choices(NamedTuple):
    """What users took: sorted by user, then time."""

    user: np.ndarray  # (events,) int32
    item: np.ndarray  # (events,) int32
    time: np.ndarray  # (events,) float64 in [0, 1), a share of the period


def build_world(source: GeneratedSource) -> World:
    """The items of ``source``. The same source gives the same world."""
    rng = np.random.default_rng([source.world_seed, 1])
    departments = list(TREE)
    leaves = [
        (d, name, [kind.replace("-", " ") for kind in kinds.split()])
        for d, department in enumerate(departments)
        for name, kinds in TREE[department][1].items()
    ]
    used = min(len(leaves), max(12, source.items // 16))
    leaves = [leaves[i] for i in np.sort(rng.permutation(len(leaves))[:used])]
    leaves += _further_leaves(source, leaves)
    used = len(leaves)
    n = source.items
    rank = rng.permutation(n)
    cycle = rng.permutation(used)
    companion = np.empty(used, np.int16)
    companion[cycle] = np.roll(cycle, 1)
    weight = (rank + 1.0 + 0.0125 * n) ** -0.8
    return World(
        leaf=rng.permutation(np.arange(n) % used).astype(np.int16),
        kind=rng.integers(0, 4, n).astype(np.int8),
        style=rng.integers(0, STYLES, n).astype(np.int8),
        weight=weight / weight.sum(),
        release=np.where(rng.random(n) < 0.6, 0.0, rng.uniform(0, 0.9, n)),
        companion=companion,
        departments=departments,
        leaves=leaves,
    )


def _further_leaves(
    source: GeneratedSource, leaves: list[tuple[int, str, list[str]]]
) -> list[tuple[int, str, list[str]]]:
    """Sub-leaves with invented names, as many as a catalogue of this size needs beyond ``leaves``."""
    more = min(MOST_LEAVES, source.items // ITEMS_PER_LEAF) - len(leaves)
    if more <= 0:
        return []
    words = invented(np.random.default_rng([source.world_seed, 7]), 5 * more)
    further = []
    for i in range(more):
        department, parent, _ = leaves[i % len(leaves)]
        name, *kinds = words[5 * i : 5 * i + 5]
        further.append((department, f"{name.title()} {parent}", kinds))
    return further


def choose(world: World, source: GeneratedSource, spread: float, first_user: int = 0) -> Choices:
    """Simulate the choices of ``source.users`` users, numbered from ``first_user``.

    ``spread`` is the least share of the period that a user's life covers (1 = every user is there throughout).
    """
    shelf, end = _Shelf(world), first_user + source.users

    def chunk(first: int) -> Choices:
        return _choose_chunk(shelf, source, spread, first, min(USERS_PER_CHUNK, end - first))

    with ThreadPoolExecutor(THREADS) as pool:
        parts = list(pool.map(chunk, range(first_user, end, USERS_PER_CHUNK)))
    return Choices(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _choose_chunk(shelf: _Shelf, source: GeneratedSource, spread: float, first: int, users: int) -> Choices:
    world = shelf.world
    rng = np.random.default_rng([source.world_seed, 2, first])
    count = _event_counts(rng, source, users)
    steps = int(count.max())
    active = np.arange(steps) < count[:, None]  # (users, steps)
    span = rng.uniform(spread, 1, users) if spread < 1 else np.ones(users)
    begin = rng.uniform(0, 1 - span)
    life = np.where(active, rng.random((users, steps)), 2.0)  # inactive steps sort to the end
    life.sort(axis=1)
    time = begin[:, None] + np.minimum(life, 1) * span[:, None]
    tastes = _tastes(rng, world, users)
    style = rng.integers(0, STYLES, users)
    met = np.zeros((users, MET_SLOTS), bool)

    item = np.full((users, steps), -1, np.int32)
    intent = tastes[:, 0].copy()
    for step in range(steps):
        now = np.flatnonzero(active[:, step])
        intent[now] = _move(rng, world, intent[now], tastes[now], life[now, step])
        wanted = np.where(rng.random(len(now)) < STYLE_FIDELITY, style[now], rng.integers(0, STYLES, len(now)))
        drawn = shelf.draw(rng, intent[now], wanted)  # (now, DRAWS)
        appeal = _appeal(world, drawn, time[now, step])
        appeal[met[now[:, None], drawn % MET_SLOTS]] *= 1e-9
        key = np.log(rng.random(appeal.shape)) / appeal  # exponential race: argmax samples by appeal
        taken = drawn[np.arange(len(now)), key.argmax(axis=1)]
        item[now, step] = taken
        met[now, taken % MET_SLOTS] = True
    user, step_of = np.nonzero(active)
    return Choices((user + first).astype(np.int32), item[user, step_of], time[user, step_of])


def _event_counts(rng: np.random.Generator, source: GeneratedSource, users: int) -> np.ndarray:
    """Events per user: a floor that a 5-core keeps where the mean allows it, with a geometric tail."""
    mean = source.events_per_user
    floor = 6 if mean >= 8 else 1
    tail = rng.geometric(1 / max(mean - floor + 1, 1.0 + 1e-9), users) - 1
    return np.minimum(floor + tail, min(int(6 * mean) + 1, source.items // 2))


def _tastes(rng: np.random.Generator, world: World, users: int) -> np.ndarray:
    """(users, TASTES) leaves: half of the later ones come from the department of the first."""
    n_leaves = len(world.leaves)
    by_leaf = np.bincount(world.leaf, weights=world.weight, minlength=n_leaves)
    tastes = rng.choice(n_leaves, (users, TASTES), p=by_leaf / by_leaf.sum())
    department = np.array([d for d, _, _ in world.leaves])
    for column in range(1, TASTES):
        kin = rng.random(users) < 0.5
        offer = rng.integers(0, n_leaves, (users, 16))
        same = department[offer] == department[tastes[:, 0]][:, None]
        kin &= same.any(axis=1)
        tastes[kin, column] = offer[kin, same[kin].argmax(axis=1)]
    return tastes.astype(np.int16)


def _move(
    rng: np.random.Generator, world: World, intent: np.ndarray, tastes: np.ndarray, life: np.ndarray
) -> np.ndarray:
    """The next intent of each user: (n,) int16."""
    n = len(intent)
    share = np.stack([1.2 - life, np.full(n, 0.6), np.full(n, 0.4), life], axis=1).cumsum(axis=1)
    pick = (rng.random((n, 1)) * share[:, -1:] > share).sum(axis=1)
    taste = tastes[np.arange(n), pick]
    dice = rng.random(n)
    anything = rng.integers(0, len(world.leaves), n)
    moved = np.where(dice < STAY + COMPANION + TASTE, taste, anything)
    moved = np.where(dice < STAY + COMPANION, world.companion[intent], moved)
    return np.where(dice < STAY, intent, moved).astype(np.int16)


def _appeal(world: World, drawn: np.ndarray, time: np.ndarray) -> np.ndarray:
    """(n, DRAWS) weights above 0: new items are wanted more, items not yet released hardly ever."""
    age = time[:, None] - world.release[drawn]
    return np.where(age < 0, 1e-6, 0.4 + np.exp(-np.maximum(age, 0) / 0.1))


class _Shelf:
    """Items sorted by (leaf, style), so that drawing from a leaf and a style is one binary search."""

    def __init__(self, world: World) -> None:
        self.world = world
        bucket = world.leaf.astype(np.int64) * STYLES + world.style
        self.order = np.argsort(bucket, kind="stable")
        self.cumulative = np.concatenate([[0.0], world.weight[self.order].cumsum()])
        self.edges = np.searchsorted(bucket[self.order], np.arange(len(world.leaves) * STYLES + 1))
        self.cells = 2 ** world.n_items.bit_length()
        starts = np.arange(self.cells + 1) / self.cells
        self.guide = (np.searchsorted(self.cumulative, starts, "right") - 1).astype(np.int32)

    def find(self, value: np.ndarray) -> np.ndarray:
        """``searchsorted(cumulative, value, "right") - 1``, several times faster where the catalogue is large.

        A guide table gives where the cell of a value begins and ends; few items share a cell, so that two or three
        halvings are left.
        """
        cell = np.minimum((value * self.cells).astype(np.int64), self.cells - 1)
        low, high = self.guide[cell], self.guide[cell + 1]
        while (low < high).any():
            middle = (low + high + 1) >> 1
            reached = self.cumulative[middle] <= value
            low, high = np.where(reached, middle, low), np.where(reached, high, middle - 1)
        return low

    def draw(self, rng: np.random.Generator, leaf: np.ndarray, style: np.ndarray) -> np.ndarray:
        """(n, DRAWS) items by popularity; a leaf without the style offers all of its items."""
        low = leaf.astype(np.int64) * STYLES + style
        high = low + 1
        # One draw in four looks at the whole leaf, so that a small (leaf, style) shelf does not run out.
        wide = np.tile(np.arange(DRAWS) % 4 == 3, (len(leaf), 1)) | (self.edges[low] == self.edges[high])[:, None]
        a = np.where(wide, self.edges[leaf.astype(np.int64) * STYLES][:, None], self.edges[low][:, None])
        b = np.where(wide, self.edges[(leaf.astype(np.int64) + 1) * STYLES][:, None], self.edges[high][:, None])
        start, stop = self.cumulative[a], self.cumulative[b]
        position = self.find(start + rng.random(a.shape) * (stop - start))
        return self.order[np.clip(position, a, b - 1)].astype(np.int32)
