"""Writes the generated world in the raw format of the Amazon 2014 release.

Two files, as published: 5-core reviews as JSON lines and item meta as Python dict literals, both gzipped.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gensr_model.config.data import GeneratedSource
from gensr_model.data.synthetic.catalogue_text import item_texts, joined
from gensr_model.data.synthetic.gzipped import write_gzip
from gensr_model.data.synthetic.vocabulary import PRAISE, STORE
from gensr_model.data.synthetic.world import Choices, World, build_world, choose

REVIEWS, META = "reviews_Generated_5.json.gz", "meta_Generated.json.gz"
FIRST_DAY = np.datetime64("2011-07-01", "D")
DAYS = 1_095
TO_KIND, SECOND_PATH, NO_CATEGORY = (0.5, 0.12, 0.02)  # share of items with a deeper, a second, no category path
ROWS_PER_BLOCK = 50_000
RATING_BELOW = np.cumsum([0.03, 0.05, 0.12, 0.3])  # one star up to four; the rest are fives
_BASE36 = np.frombuffer(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", np.uint8)


def write_amazon(folder: Path, source: GeneratedSource) -> None:
    """Write ``reviews_Generated_5.json.gz`` and ``meta_Generated.json.gz`` into ``folder``.

    The same ``source`` gives the same bytes. Reviews are ordered by item, as published.
    """
    folder.mkdir(parents=True, exist_ok=True)
    world = build_world(source)
    asin = _codes("B0", np.arange(world.n_items))
    write_gzip(folder / META, _meta_blocks(world, source, asin))
    write_gzip(folder / REVIEWS, _review_blocks(choose(world, source, spread=0.4), source, asin))


def _codes(prefix: str, number: np.ndarray) -> pa.Array:
    """Distinct codes that look random, for numbers below 10 million: ``prefix`` and 8 base-36 characters."""
    space = 36**8
    mixed = (number.astype(np.int64) * 5**16 + 7_919) % space  # 5 and 36 share no factor: one to one
    digit = mixed[:, None] // 36 ** np.arange(7, -1, -1, dtype=np.int64) % 36
    text = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(8), len(number), [None, pa.py_buffer(np.ascontiguousarray(_BASE36[digit]))]
    )
    return joined(prefix, text.cast(pa.binary()).cast(pa.string()))


def _literal(text: pa.Array) -> pa.Array:
    """``repr`` of texts that hold single quotes or none, and no backslash: as Python writes them."""
    quoted = pc.match_substring(text, "'")
    return pc.if_else(quoted, joined('"', text, '"'), joined("'", text, "'"))


def _field(name: str, literal: pa.Array) -> pa.Array:
    """ ", 'name': literal", or nothing where the literal is null."""
    return pc.fill_null(joined(f", '{name}': ", literal), "")


def _meta_blocks(world: World, source: GeneratedSource, asin: pa.Array) -> Iterator[bytes]:
    """The lines of the meta file: what ``repr`` gives for a dict of each item."""
    rng = np.random.default_rng([source.world_seed, 4])
    texts = item_texts(world, source)
    n = world.n_items
    dice, gift = rng.random(n), rng.integers(0, len(world.leaves), n)
    price = pa.array(rng.uniform(2, 200, n).round(2)).cast(pa.string())
    price = pc.if_else(pc.match_substring(price, "."), price, joined(price, ".0"))
    others = [_literal(asin.take(pa.array(rng.integers(0, n, n)))) for _ in range(3)]
    lines = joined(
        "{'asin': ", _literal(asin),
        _field("description", _literal(texts.description)),
        _field("title", _literal(texts.title)),
        _field("price", price),
        ", 'related': {'also_bought': [", others[0], ", ", others[1], ", ", others[2], "]}",
        _field("brand", _literal(texts.brand)),
        _field("categories", _categories(world, rng.random(n) < TO_KIND, dice, gift)),
        "}",
    )  # fmt: skip
    for start in range(0, n, ROWS_PER_BLOCK):
        yield _text(lines.slice(start, ROWS_PER_BLOCK))


def _categories(world: World, deep: np.ndarray, dice: np.ndarray, gift: np.ndarray) -> pa.Array:
    """(items,) literals of the category paths; null for an item that has none."""
    names = [(world.departments[d], leaf, kinds) for d, leaf, kinds in world.leaves]
    # Per leaf its own path, one for each of the four kinds, and the path in which it is a gift idea.
    paths = [repr([STORE, department, leaf]) for department, leaf, _ in names]
    paths += [repr([STORE, department, leaf, kind.title()]) for department, leaf, kinds in names for kind in kinds]
    paths += [repr([STORE, "Gift Ideas", leaf]) for _, leaf, _ in names]
    table, n = pa.array(paths), len(names)
    leaf = world.leaf.astype(np.int64)
    own = table.take(pa.array(np.where(deep, n + 4 * leaf + world.kind, leaf)))
    second = joined(", ", table.take(pa.array(5 * n + gift)))
    both = joined("[", own, pc.if_else(pa.array(dice < SECOND_PATH), second, ""), "]")
    return pc.if_else(pa.array(dice < 1 - NO_CATEGORY), both, None)


def _review_blocks(choices: Choices, source: GeneratedSource, asin: pa.Array) -> Iterator[bytes]:
    rng = np.random.default_rng([source.world_seed, 5])
    order = np.argsort(choices.item.astype(np.int64) * source.users + choices.user, kind="stable")
    user_code = _codes("AGEN", np.arange(source.users))
    for start in range(0, len(order), ROWS_PER_BLOCK):
        rows = order[start : start + ROWS_PER_BLOCK]
        user, n = pa.array(choices.user[rows]), len(rows)
        day = FIRST_DAY + np.floor(choices.time[rows] * DAYS).astype(np.int64)
        rating = 1 + np.searchsorted(RATING_BELOW, rng.random(n), "right")
        praise, helpful = rng.integers(0, len(PRAISE), n), rng.integers(0, 4, n)
        asins = asin.take(pa.array(choices.item[rows]))
        yield _text(_review_lines(user_code.take(user), user, asins, day, rating, praise, helpful))


def _text(lines: pa.Array) -> bytes:
    """The lines, each with its line end: the data buffer of the joined array, without a copy per line."""
    ended = joined(lines, "\n")
    start, stop = ended.offset, ended.offset + len(ended)
    offsets = np.frombuffer(ended.buffers()[1], np.int32)
    return bytes(ended.buffers()[2])[offsets[start] : offsets[stop]]


def _review_lines(
    code: pa.Array,
    user: pa.Array,
    asin: pa.Array,
    day: np.ndarray,
    rating: np.ndarray,
    praise: np.ndarray,
    helpful: np.ndarray,
) -> pa.Array:
    """One JSON text per review; the nickname holds escaped quotes, as real ones do."""
    sentences = pa.array(PRAISE).take(pa.array(praise))
    days, day_of = np.unique(day, return_inverse=True)  # each day is written once
    dates = pa.array(days.astype("datetime64[D]"))
    written = joined(pc.strftime(dates, "%m "), pc.day(dates).cast(pa.string()), pc.strftime(dates, ", %Y"))
    date = written.take(pa.array(day_of))
    seconds = pa.array(day.astype("datetime64[s]").astype(np.int64)).cast(pa.string())
    helpful_text = pa.array(helpful).cast(pa.string())
    return joined(
        '{"reviewerID": "', code,
        '", "asin": "', asin,
        '", "reviewerName": "Reader ', user.cast(pa.string()), ' \\"of things\\"", "helpful": [',
        helpful_text, ', ', helpful_text,
        '], "reviewText": "It ', sentences,
        '.", "overall": ', pa.array(rating).cast(pa.string()),
        '.0, "summary": "', sentences,
        '", "unixReviewTime": ', seconds,
        ', "reviewTime": "', date, '"}',
    )  # fmt: skip
