"""Titles, brands and descriptions of generated items: words that reveal the leaf category, but not the style."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gensr_model.config.data import GeneratedSource
from gensr_model.data.synthetic.vocabulary import QUALITIES, SIZES, invented
from gensr_model.data.synthetic.world import World

BRANDS = 64
TOPIC_WORDS = 8  # invented words that only one leaf category uses: readable signal that no query holds
# How often a text mentions a word of its category: often enough for word matching to work, seldom enough to leave
# work for a model that learns which other words go with the category.
NAMES_KIND, NAMES_LEAF, NAMES_DEPARTMENT, NAMES_ANOTHER_LEAF = 0.85, 0.40, 0.20, 0.40


class ItemTexts(NamedTuple):
    """One entry per item; null where the raw file leaves the field out."""

    title: pa.Array
    brand: pa.Array
    description: pa.Array


def joined(*parts: pa.Array | str) -> pa.Array:
    """The parts one after another, row by row."""
    return pc.binary_join_element_wise(*parts, "")


def _when(condition: np.ndarray, *parts: pa.Array | str) -> pa.Array:
    """The joined parts where ``condition``, else an empty text."""
    return pc.if_else(pa.array(condition), joined(*parts), "")


def _pick(words: list[str] | tuple[str, ...] | np.ndarray, at: np.ndarray) -> pa.Array:
    return pa.array(list(words), pa.string()).take(pa.array(at))


def item_texts(world: World, source: GeneratedSource) -> ItemTexts:
    """English-like texts for every item of ``world``, with its quirks: entities, tags, missing fields."""
    rng = np.random.default_rng([source.world_seed, 3])
    n, n_leaves = world.n_items, len(world.leaves)
    words = invented(rng, n_leaves * TOPIC_WORDS + BRANDS)
    topics = words[: n_leaves * TOPIC_WORDS]
    # One brand in seven is written like "Branford's": its text holds a quote.
    brands = [w.title() + ("'s" if i % 7 == 0 else "") for i, w in enumerate(words[n_leaves * TOPIC_WORDS :])]
    kinds = [kind for _, _, names in world.leaves for kind in names]
    leaf = world.leaf.astype(np.int64)
    two = leaf[:, None] * TOPIC_WORDS + rng.integers(0, TOPIC_WORDS, (n, 2))
    three = leaf[:, None] * TOPIC_WORDS + rng.integers(0, TOPIC_WORDS, (n, 3))
    quality = rng.integers(0, len(QUALITIES), n)
    mentions = rng.random((n, 4)) < [NAMES_KIND, NAMES_LEAF, NAMES_DEPARTMENT, NAMES_ANOTHER_LEAF]
    leaf_names = [name for _, name, _ in world.leaves]
    leaf_name = _pick(leaf_names, leaf)
    department = _pick([world.departments[d] for d, _, _ in world.leaves], leaf)
    kind = np.where(mentions[:, 0], leaf * 4 + world.kind, len(kinds))
    sized, branded = rng.random(n) < 0.5, rng.random(n) < 0.7
    titled, described = rng.random(n) >= 0.06, rng.random(n) >= 0.10
    quirk = rng.random(n)

    title = joined(
        _pick([word.capitalize() for word in QUALITIES], quality), " ",
        _pick([word.title() for word in topics], two[:, 0]), " ",
        _pick([*[name.title() for name in kinds], "Piece"], kind),
        _when(mentions[:, 1] & (quirk < 0.5), " for ", leaf_name),
        _when(sized, ", ", _pick(SIZES, rng.integers(0, len(SIZES), n))),
    )  # fmt: skip
    description = joined(
        "A ", _pick(QUALITIES, quality), " ", _pick(topics, three[:, 0]), " ",
        _pick([*[name.lower() for name in kinds], "piece"], kind),
        " with ", _pick(topics, three[:, 1]), " and ", _pick(topics, three[:, 2]), " finish.",
        _when(mentions[:, 1] & (quirk >= 0.5), " Made for ", leaf_name, "."),
        _when(mentions[:, 2], " Part of our ", department, " range."),
        _when(mentions[:, 3], " Goes well with ", _pick(leaf_names, rng.integers(0, n_leaves, n)), "."),
    )  # fmt: skip
    escaped = pc.replace_substring(description, "&", "&amp;")
    description = pc.if_else(pa.array(quirk < 0.6), escaped, description)
    description = pc.if_else(pa.array(quirk < 0.1), joined("<p>", description, "</p><br />"), description)
    brand = _pick(brands, rng.integers(0, len(brands), n))
    return ItemTexts(
        title=pc.if_else(pa.array(titled), pc.replace_substring(title, "&", "&amp;"), None),
        brand=pc.if_else(pa.array(branded), brand, None),
        description=pc.if_else(pa.array(described), description, None),
    )
