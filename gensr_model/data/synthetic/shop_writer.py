"""Writes the generated shop: own logs as a small shop would export them, with searches in English and German.

``python -m gensr_model.data.synthetic.shop_writer examples/shop`` writes ``events.csv`` and ``items.csv``. They are
generated data, not a real shop's. Users choose items as in ``world.py``. Around each choice there are the other rows of
a log: shown items, carts and purchases, searches without a click, and a few broken rows.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from gensr_model.config.data import GeneratedSource
from gensr_model.data.synthetic.catalogue_text import joined
from gensr_model.data.synthetic.shop_words import COLOURS, DEPARTMENTS, LEAVES, SIZES, Words
from gensr_model.data.synthetic.vocabulary import invented
from gensr_model.data.synthetic.world import Choices, World, build_world, choose

SHOP = GeneratedSource(users=1_200, items=390, events_per_user=12.0, world_seed=2025)
DAYS, OPENS, OPEN_HOURS = 30, 7, 16  # people come between 7:00 and 23:00
FIRST_DAY = np.datetime64("2025-01-06", "s").astype(np.int64)  # local time in Berlin, winter
ZONE = "+01:00"
GERMAN = 0.55  # of the users; the others read and search in English
SEARCH_SHARES, SEARCHERS = np.array([0.0, 0.55, 1.0]), [0.10, 0.85, 0.05]  # some never search, some do nothing else
ASKS = [0.6, 0.2, 0.2]  # for a kind of product, for its category, for a kind in the item's colour
CART, BUY = 0.15, 0.07  # choices followed by a cart, or a purchase, of the same item
PIN = 0.04  # choices that are pins on a wish list and no click
SHOWN, FRUITLESS = 0.25, 0.08  # per choice: items shown and passed by, searches that ended without a click
BROKEN = 0.001  # choices without an item, and as many without a time
BRANDS = 30
EVENT_COLUMNS = ("client_id", "product_id", "created_at", "action", "search_query", "session")


def write_shop(folder: Path) -> None:
    """Write ``events.csv`` and ``items.csv`` into ``folder``. The bytes are always the same."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([SHOP.world_seed, 20])
    world = _shop_world()
    colour = rng.integers(0, len(COLOURS), world.n_items)
    _write(folder / "items.csv", _items(rng, world, colour), "needed")
    _write(folder / "events.csv", _events(rng, world, colour, choose(world, SHOP, spread=1.0)), "none")


def _shop_world() -> World:
    """The generated world with the shop's categories in place of the world's."""
    world = build_world(SHOP)
    leaves = [
        (department, name.en, [kind.en for kind in kinds])
        for _, (department, name, kinds) in zip(world.leaves, LEAVES, strict=True)
    ]
    return world._replace(leaves=leaves, departments=DEPARTMENTS)


def _write(path: Path, table: pa.Table, quoting: str) -> None:
    with path.open("wb") as out:
        out.write((",".join(table.column_names) + "\n").encode())
        pacsv.write_csv(table, out, pacsv.WriteOptions(include_header=False, quoting_style=quoting))


def _items(rng: np.random.Generator, world: World, colour: np.ndarray) -> pa.Table:
    """(items,) rows: an id, a title in each language, a brand, a category path."""
    kind, leaf = _kinds(world), world.leaf
    brand = _pick([name.title() for name in invented(rng, BRANDS)], rng.integers(0, BRANDS, world.n_items))
    size = rng.integers(0, len(SIZES), world.n_items)

    def suffix(sizes: list[str]) -> pa.Array:
        return _pick([f", {name}" if name else "" for name in sizes], size)

    names = [Words(f"{DEPARTMENTS[d]} > {name.en}", f"{DEPARTMENTS[d]} > {name.de}") for d, name, _ in LEAVES]
    return pa.table(
        {
            "product_id": _product(np.arange(world.n_items)),
            "name_de": joined(
                _pick(_german(KINDS), kind), " ", brand, ", ", _pick(_german(COLOURS), colour), suffix(_german(SIZES))
            ),
            "name_en": joined(
                brand, " ", _pick(_english(COLOURS), colour), " ", _pick(_english(KINDS), kind), suffix(_english(SIZES))
            ),
            "brand": brand,
            "category": _pick(_english(names), leaf),
        }
    )


def _events(rng: np.random.Generator, world: World, colour: np.ndarray, choices: Choices) -> pa.Table:
    """Rows by time: each choice, and what surrounds it. Each part has the rows of the choices that it belongs to."""
    n = len(choices.user)
    day = np.floor(choices.time * DAYS).astype(np.int64)
    second = (OPENS + OPEN_HOURS * (choices.time * DAYS - day)) * 3_600
    at = FIRST_DAY + 86_400 * day + second.astype(np.int64)
    share = rng.choice(SEARCH_SHARES, SHOP.users, p=SEARCHERS)
    searched = rng.random(n) < share[choices.user]
    german = (rng.random(SHOP.users) < GERMAN)[choices.user]
    query = pc.if_else(pa.array(searched), _queries(rng, world, colour, choices.item, german), None)

    every = np.arange(n)
    cart, buy = (every[rng.random(n) < chance] for chance in (CART, BUY))
    shown = every[rng.random(n) < SHOWN]
    fruitless = every[searched & (rng.random(n) < FRUITLESS)]
    parts = [every, cart, buy, shown, fruitless]
    row = np.concatenate(parts)
    action = pa.concat_arrays(
        [
            _pick(["click", "pin"], (rng.random(n) < PIN).astype(np.int64)),
            *(pa.repeat(name, len(rows)) for name, rows in zip(_BESIDE, parts[1:], strict=True)),
        ]
    )
    item = choices.item[row].astype(np.int64)
    begin = np.concatenate([[0], np.cumsum([len(rows) for rows in parts])])
    item[begin[3] : begin[4]] = rng.integers(0, world.n_items, len(shown))
    without_item = np.arange(len(row)) >= begin[4]
    without_item[rng.integers(0, n, int(BROKEN * n))] = True
    without_time = np.zeros(len(row), bool)
    without_time[rng.integers(0, n, int(BROKEN * n))] = True
    late = np.concatenate(
        [np.zeros(n), *(rng.uniform(*span, len(rows)) for span, rows in zip(_LATE, parts[1:], strict=True))]
    )
    time = at[row] + late.astype(np.int64)
    written = joined(pc.strftime(pa.array(time).cast(pa.timestamp("s")), format="%Y-%m-%dT%H:%M:%S"), ZONE)
    values = (
        joined("c", pc.utf8_lpad(pa.array(choices.user[row]).cast(pa.string()), 4, "0")),
        pc.if_else(pa.array(without_item), None, _product(item)),
        pc.if_else(pa.array(without_time), "unknown", written),
        action,
        query.take(pa.array(row)),
        joined("s", (pa.array(choices.user[row].astype(np.int64) * DAYS + day[row])).cast(pa.string())),
    )
    return pa.table(dict(zip(EVENT_COLUMNS, values, strict=True))).take(pa.array(np.argsort(time, kind="stable")))


#: What stands beside a choice, and between how many seconds after it. An item passed by was shown before.
_BESIDE = ("add_to_cart", "purchase", "impression", "search")
_LATE = ((20, 300), (300, 1_500), (-40, -1), (-300, -60))
KINDS = [kind for _, _, kinds in LEAVES for kind in kinds]


def _queries(
    rng: np.random.Generator, world: World, colour: np.ndarray, item: np.ndarray, german: np.ndarray
) -> pa.Array:
    """(n,) searches for ``item`` (n,), in German where ``german`` (n,); letters small, as written, or all large."""
    kind, leaf = _kinds(world)[item], world.leaf[item]
    form = rng.choice(len(ASKS), len(item), p=ASKS)

    def ask(words: tuple[list[str], list[str], list[str]]) -> pa.Array:
        kinds, leaves, colours = words
        coloured = joined(_pick(colours, colour[item]), " ", _pick(kinds, kind))
        return pc.choose(pa.array(form), _pick(kinds, kind), _pick(leaves, leaf), coloured)

    names = [name for _, name, _ in LEAVES]
    asked = pc.if_else(
        pa.array(german),
        ask((_german(KINDS), _german(names), _german(COLOURS))),
        ask((_english(KINDS), _english(names), _english(COLOURS))),
    )
    typed = pa.array(rng.choice(3, len(item), p=[0.7, 0.25, 0.05]))
    return pc.choose(typed, pc.utf8_lower(asked), asked, pc.utf8_upper(asked))


def _kinds(world: World) -> np.ndarray:
    """(items,) place of each item's kind in ``KINDS``."""
    return world.leaf.astype(np.int64) * 4 + world.kind


def _english(words: list[Words]) -> list[str]:
    return [word.en for word in words]


def _german(words: list[Words]) -> list[str]:
    return [word.de for word in words]


def _pick(words: list[str], at: np.ndarray) -> pa.Array:
    return pa.array(words, pa.string()).take(pa.array(at))


def _product(number: np.ndarray) -> pa.Array:
    return joined("p", pc.utf8_lpad(pa.array(number).cast(pa.string()), 3, "0"))


if __name__ == "__main__":
    write_shop(Path(sys.argv[1]))
