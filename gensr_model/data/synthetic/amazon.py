"""Writes the generated world in the raw format of the Amazon 2014 release.

Two files, as published: 5-core reviews as JSON lines and item meta as Python dict literals, both gzipped.
"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gensr_model.config import GeneratedSource
from gensr_model.data.synthetic.text import item_texts
from gensr_model.data.synthetic.words import PRAISE, STORE
from gensr_model.data.synthetic.world import Choices, World, build_world, choose

REVIEWS, META = "reviews_Generated_5.json.gz", "meta_Generated.json.gz"
FIRST_DAY = np.datetime64("2011-07-01", "D")
DAYS = 1_095
TO_KIND, SECOND_PATH, NO_CATEGORY = (
    0.5,
    0.12,
    0.02,
)  # share of items with a deeper, a second, no category path
ROWS_PER_BLOCK = 100_000
_BASE36 = np.frombuffer(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", np.uint8)


def write_amazon(folder: Path, source: GeneratedSource) -> None:
    """Write ``reviews_Generated_5.json.gz`` and ``meta_Generated.json.gz`` into ``folder``.

    The same ``source`` gives the same bytes. Reviews are ordered by item, as published.
    """
    folder.mkdir(parents=True, exist_ok=True)
    world = build_world(source)
    asin = _codes("B0", np.arange(world.n_items))
    _write_meta(folder / META, world, source, asin)
    _write_reviews(folder / REVIEWS, choose(world, source, spread=0.4), source, asin)


def _codes(prefix: str, number: np.ndarray) -> np.ndarray:
    """Distinct codes that look random, for numbers below 10 million: ``prefix`` and 8 base-36 characters."""
    space = 36**8
    mixed = (number.astype(np.int64) * 5**16 + 7_919) % space  # 5 and 36 share no factor: one to one
    digit = mixed[:, None] // 36 ** np.arange(7, -1, -1, dtype=np.int64) % 36
    text = np.ascontiguousarray(_BASE36[digit]).view("S8")[:, 0].astype("U8")
    return np.char.add(prefix, text)


def _write_meta(path: Path, world: World, source: GeneratedSource, asin: np.ndarray) -> None:
    rng = np.random.default_rng([source.world_seed, 4])
    texts = item_texts(world, source)
    n = world.n_items
    dice, gift, price = rng.random(n), rng.integers(0, len(world.leaves), n), rng.uniform(2, 200, n).round(2)
    related = asin[rng.integers(0, n, (n, 3))]
    lines = []
    for i in range(n):
        department, leaf, kinds = world.leaves[world.leaf[i]]
        path_ = [STORE, world.departments[department], leaf]
        if rng.random() < TO_KIND:
            path_.append(kinds[world.kind[i]].title())
        paths = [path_]
        if dice[i] < SECOND_PATH:
            paths.append([STORE, "Gift Ideas", world.leaves[gift[i]][1]])
        entry: dict[str, Any] = {"asin": str(asin[i])}
        entry |= {"description": texts.description[i]} if texts.description[i] is not None else {}
        entry |= {"title": texts.title[i]} if texts.title[i] is not None else {}
        entry |= {"price": float(price[i]), "related": {"also_bought": related[i].tolist()}}
        entry |= {"brand": texts.brand[i]} if texts.brand[i] is not None else {}
        entry |= {"categories": paths} if dice[i] < 1 - NO_CATEGORY else {}
        lines.append(repr(entry))
    with path.open("wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as out:
        out.write(("\n".join(lines) + "\n").encode())


def _write_reviews(path: Path, choices: Choices, source: GeneratedSource, asin: np.ndarray) -> None:
    rng = np.random.default_rng([source.world_seed, 5])
    order = np.lexsort((choices.user, choices.item))
    user, item = choices.user[order], choices.item[order]
    day = np.floor(choices.time[order] * DAYS).astype(np.int64)
    n = len(user)
    rating = rng.choice(np.arange(1, 6), n, p=[0.03, 0.05, 0.12, 0.3, 0.5])
    praise = rng.integers(0, len(PRAISE), n)
    helpful = rng.integers(0, 4, n)
    user_code = _codes("AGEN", np.arange(source.users))
    with path.open("wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as out:
        for start in range(0, n, ROWS_PER_BLOCK):
            rows = slice(start, start + ROWS_PER_BLOCK)
            u, i, d = user[rows], item[rows], FIRST_DAY + day[rows]
            lines = _review_lines(user_code[u], u, asin[i], d, rating[rows], praise[rows], helpful[rows])
            out.write("\n".join([*lines.to_pylist(), ""]).encode())


def _review_lines(
    code: np.ndarray,
    user: np.ndarray,
    asin: np.ndarray,
    day: np.ndarray,
    rating: np.ndarray,
    praise: np.ndarray,
    helpful: np.ndarray,
) -> pa.Array:
    """One JSON text per review; the nickname holds escaped quotes, as real ones do."""
    sentences = pa.array(PRAISE).take(pa.array(praise))
    date = pa.array(day.astype("datetime64[D]"))
    seconds = pa.array(day.astype("datetime64[s]").astype(np.int64)).cast(pa.string())
    helpful_text = pa.array(helpful).cast(pa.string())
    parts = [
        '{"reviewerID": "', pa.array(code),
        '", "asin": "', pa.array(asin),
        '", "reviewerName": "Reader ', pa.array(user).cast(pa.string()), ' \\"of things\\"", "helpful": [',
        helpful_text, ', ', helpful_text,
        '], "reviewText": "It ', sentences,
        '.", "overall": ', pa.array(rating).cast(pa.string()),
        '.0, "summary": "', sentences,
        '", "unixReviewTime": ', seconds,
        ', "reviewTime": "', pc.strftime(date, "%m "), pc.day(date).cast(pa.string()), pc.strftime(date, ", %Y"), '"}',
    ]  # fmt: skip
    return pc.binary_join_element_wise(*[*parts, ""])
