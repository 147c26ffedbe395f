"""Titles, brands and descriptions of generated items: words that tell the leaf category, but not the style."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gensr_model.config import GeneratedSource
from gensr_model.data.synthetic.words import QUALITIES, SIZES, invented
from gensr_model.data.synthetic.world import World

TOPIC_WORDS = 8  # invented words that only one leaf category uses: readable signal that no query holds
# How often a text says a word of its category: often enough for word matching to work, seldom enough to leave
# work for a model that learns which other words go with the category.
SAYS_KIND, SAYS_LEAF, SAYS_DEPARTMENT, NAMES_ANOTHER_LEAF = 0.85, 0.40, 0.20, 0.40


class ItemTexts(NamedTuple):
    """One entry per item; None where the raw file leaves the field out."""

    title: list[str | None]
    brand: list[str | None]
    description: list[str | None]


def item_texts(world: World, source: GeneratedSource) -> ItemTexts:
    """English-like texts for every item of ``world``, with its quirks: entities, tags, missing fields."""
    rng = np.random.default_rng([source.world_seed, 3])
    n, n_leaves = world.n_items, len(world.leaves)
    words = invented(rng, n_leaves * TOPIC_WORDS + 64)
    topic = np.array(words[: n_leaves * TOPIC_WORDS]).reshape(n_leaves, TOPIC_WORDS)
    brands = np.char.title(np.array(words[n_leaves * TOPIC_WORDS :]))
    leaf_name = np.array([name for _, name, _ in world.leaves])
    department = np.array([world.departments[d] for d, _, _ in world.leaves])
    kinds = np.array([k for _, _, k in world.leaves])  # (leaves, 4)
    two = topic[world.leaf[:, None], rng.integers(0, TOPIC_WORDS, (n, 2))]
    three = topic[world.leaf[:, None], rng.integers(0, TOPIC_WORDS, (n, 3))]
    quality = np.char.capitalize(rng.choice(np.array(QUALITIES), n))
    kind = kinds[world.leaf, world.kind]
    says = rng.random((n, 4)) < [SAYS_KIND, SAYS_LEAF, SAYS_DEPARTMENT, NAMES_ANOTHER_LEAF]
    other = leaf_name[rng.integers(0, n_leaves, n)]
    leaf, dept = leaf_name[world.leaf], department[world.leaf]
    size = rng.choice(np.array(SIZES), n)
    sized, branded = rng.random(n) < 0.5, rng.random(n) < 0.7
    titled, described = rng.random(n) >= 0.06, rng.random(n) >= 0.10
    brand = brands[rng.integers(0, len(brands), n)]
    quirk = rng.random(n)

    titles: list[str | None] = []
    descriptions: list[str | None] = []
    for i in range(n):
        noun = str(kind[i]).title() if says[i, 0] else "Piece"
        title = f"{quality[i]} {two[i, 0].title()} {noun}"
        title += f" for {leaf[i]}" if says[i, 1] and quirk[i] < 0.5 else ""
        title += f", {size[i]}" if sized[i] else ""
        text = f"A {quality[i].lower()} {three[i, 0]} {noun.lower()}"
        text += f" with {three[i, 1]} and {three[i, 2]} finish."
        text += f" Made for {leaf[i]}." if says[i, 1] and quirk[i] >= 0.5 else ""
        text += f" Part of our {dept[i]} range." if says[i, 2] else ""
        text += f" Goes well with {other[i]}." if says[i, 3] else ""
        text = text.replace("&", "&amp;") if quirk[i] < 0.6 else text
        text = f"<p>{text}</p><br />" if quirk[i] < 0.1 else text
        titles.append(title.replace("&", "&amp;") if titled[i] else None)
        descriptions.append(text if described[i] else None)
    return ItemTexts(
        titles, [str(b) if yes else None for b, yes in zip(brand, branded, strict=True)], descriptions
    )
