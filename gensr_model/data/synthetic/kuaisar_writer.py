"""Writes the generated world in the raw format of KuaiSAR: five CSV files, with words as anonymised ids.

A choice of the world is a click: on a recommendation, or in a search session whose query follows the intent of the
moment. Around the clicks there are shown and ignored items at the same delivery time, sessions without a click, and the
quirks of the published files: recurring session ids, rows of a session that disagree, and missing categories.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from gensr_model.config.data import GeneratedSource
from gensr_model.data.synthetic.kuaisar_items import item_tables
from gensr_model.data.synthetic.kuaisar_text import KuaiText, build_text, queries
from gensr_model.data.synthetic.world import THREADS, Choices, World, build_world, choose

DAYS = 10
FIRST_DAY_MS = 1_684_684_800_000  # 2023-05-22 00:00 in Beijing
HOUR_MS, BEIJING_MS = 3_600_000, 8 * 3_600_000
EMPTY_SESSIONS = 0.65  # sessions without a click, per session with one: about 60% have a click
TIED = 0.04  # clicks delivered together with the user's click before
CONFLICTS, FOREIGN = 0.03, 0.05  # clicked rows repeated as not clicked; shown rows that are no video
FOREIGN_TYPES = pa.array(["VIDEO", "USER", "LIVE", "MUSIC", "ADVERT"])
SOURCES = pa.array(["USER_INPUT", "SUG_SEARCH", "HISTORY", "RECO_SEARCH"])
ROWS_PER_BLOCK = 250_000


class _Clicks(NamedTuple):
    """The clicks of one behavior."""

    user: np.ndarray  # (clicks,) int32
    item: np.ndarray  # (clicks,) int32
    ms: np.ndarray  # (clicks,) int64


def write_kuaisar(folder: Path, source: GeneratedSource, label: str = "", first_user: int = 0) -> None:
    """Write rec_inter, src_inter, item_features, user_features and social_network .csv into ``folder``.

    The same arguments give the same bytes. Clicks fall on ten days, 2023-05-22 to 2023-05-31 in Beijing. Memory grows
    by some tens of bytes per item and interaction; text is made block by block. More users than fit into memory are
    written in parts, as files with a ``label`` that hold the users from ``first_user`` on. The first part has the
    items.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([source.world_seed, 6])
    world = build_world(source)
    text = build_text(world, rng)
    raw_item = rng.permutation(world.n_items * 3)[: world.n_items].astype(np.int32)

    def write(name: str, tables: Iterator[pa.Table]) -> None:
        _write(folder / (f"{name}.{label}.csv" if label else f"{name}.csv"), tables)

    def interactions() -> None:
        rng = np.random.default_rng([source.world_seed, 9, first_user])
        rec, src = _by_behavior(rng, choose(world, source, spread=1.0, first_user=first_user), source)
        users = np.arange(first_user, first_user + source.users)
        write("user_features", _users(rng, rec, src, users))
        write("social_network", _social(rng, users))
        write("rec_inter", _recommendations(rng, world, rec, raw_item))
        write("src_inter", _searches(rng, world, text, src, raw_item))

    with ThreadPoolExecutor(THREADS) as pool:
        jobs = [pool.submit(interactions)]
        if not first_user:
            items = item_tables(np.random.default_rng([source.world_seed, 8]), world, text, raw_item)
            jobs.append(pool.submit(write, "item_features", items))
        for job in jobs:
            job.result()


def _write(path: Path, tables: Iterator[pa.Table]) -> None:
    first = next(tables)
    with pacsv.CSVWriter(path, first.schema, write_options=pacsv.WriteOptions(quoting_style="needed")) as out:
        out.write_table(first)
        for table in tables:
            out.write_table(table)


def _by_behavior(rng: np.random.Generator, clicks: Choices, source: GeneratedSource) -> tuple[_Clicks, _Clicks]:
    """The choices as clicks on recommendations and on search results."""
    ms = _beijing_times(rng, clicks)
    searched = rng.random(len(ms)) < source.search_share
    return (
        _Clicks(clicks.user[~searched], clicks.item[~searched], ms[~searched]),
        _Clicks(clicks.user[searched], clicks.item[searched], ms[searched]),
    )


def _beijing_times(rng: np.random.Generator, clicks: Choices) -> np.ndarray:
    """(events,) UTC milliseconds: clicks between 7:00 and 24:00 in Beijing, some tied with the one before."""
    days = clicks.time * DAYS
    day = np.floor(days)
    ms = FIRST_DAY_MS + (day * 24 * HOUR_MS + (7 + 16.99 * (days - day)) * HOUR_MS).astype(np.int64)
    tied = np.flatnonzero((rng.random(len(ms)) < TIED) & (np.diff(clicks.user, prepend=-1) == 0))
    ms[tied] = ms[tied - 1]
    return ms


def _clock_text(ms: np.ndarray) -> pa.Array:
    """(n,) "YYYY-MM-DD HH:MM:SS" in Beijing."""
    seconds = pa.array((ms + BEIJING_MS) // 1000).cast(pa.timestamp("s"))
    return seconds.cast(pa.string())


def _popular(rng: np.random.Generator, cumulative: np.ndarray, count: int) -> np.ndarray:
    """(count,) items by popularity, whatever the user likes."""
    drawn = np.searchsorted(cumulative, rng.random(count) * cumulative[-1], "right")
    return np.minimum(drawn, len(cumulative) - 1).astype(np.int32)


def _shuffled_by(rng: np.random.Generator, key: np.ndarray) -> np.ndarray:
    """Order of rows by ``key``, non-negative and below 2**43; rows of one key in random order."""
    return np.argsort(key << 20 | rng.integers(0, 2**20, len(key)), kind="stable")


def _recommendations(
    rng: np.random.Generator, world: World, clicks: _Clicks, raw_item: np.ndarray
) -> Iterator[pa.Table]:
    """Clicks, and as many shown items without one, delivered at the same time."""
    ignored = np.repeat(np.arange(len(clicks.ms), dtype=np.int32), rng.integers(0, 3, len(clicks.ms)))
    user = np.concatenate([clicks.user, clicks.user[ignored]])
    item = np.concatenate([clicks.item, _popular(rng, world.weight.cumsum(), len(ignored))])
    at = np.concatenate([clicks.ms, clicks.ms[ignored]])
    # By delivery; a click may stand before or after its neighbours.
    order = _shuffled_by(rng, at - FIRST_DAY_MS)
    for start in range(0, max(len(order), 1), ROWS_PER_BLOCK):
        rows = order[start : start + ROWS_PER_BLOCK]
        yield _recommended(rng, user[rows], raw_item[item[rows]], rows < len(clicks.ms), at[rows])


def _recommended(
    rng: np.random.Generator, user: np.ndarray, item: np.ndarray, click: np.ndarray, at: np.ndarray
) -> pa.Table:
    n = len(at)
    duration = rng.integers(5_000, 180_000, n)
    return pa.table(
        {
            "user_id": user,
            "item_id": item,
            "duration_ms": duration,
            "playing_time": (duration * np.where(click, rng.uniform(0.3, 1.5, n), 0.05)).astype(np.int64),
            "timestamp": at,
            "forward": (click & (rng.random(n) < 0.02)).astype(np.int8),
            "like": (click & (rng.random(n) < 0.1)).astype(np.int8),
            "follow": (click & (rng.random(n) < 0.03)).astype(np.int8),
            "search_item_related": np.zeros(n, np.int8),
            "search": (click & (rng.random(n) < 0.02)).astype(np.int8),
            "click": click.astype(np.int8),
            "time": _clock_text(at),
        }
    )


def _searches(
    rng: np.random.Generator, world: World, text: KuaiText, clicks: _Clicks, raw_item: np.ndarray
) -> Iterator[pa.Table]:
    """Sessions of shown results: the clicked ones of the world, and sessions where nothing was clicked."""
    n_clicked = len(clicks.ms)
    idle = rng.integers(0, max(n_clicked, 1), int(n_clicked * EMPTY_SESSIONS))
    origin = np.concatenate([np.arange(n_clicked), idle])  # the choice whose user and intent a session has
    n_sessions = len(origin)
    clicked = np.arange(n_sessions) < n_clicked
    at = clicks.ms[origin] + np.where(clicked, 0, rng.integers(1_000, 600_000, n_sessions))
    # Shown beside the clicked one: the same leaf two times in three, anything popular otherwise.
    shown = np.repeat(np.arange(n_sessions), rng.integers(2, 6, n_sessions))
    beside = _same_leaf(rng, world, clicks.item[origin[shown]])
    anything = _popular(rng, world.weight.cumsum(), len(shown))
    other = np.where(rng.random(len(shown)) < 0.67, beside, anything)
    again = np.flatnonzero(clicked & (rng.random(n_sessions) < CONFLICTS))
    session = np.concatenate([np.arange(n_clicked), shown, again])
    item = np.concatenate([clicks.item, other, clicks.item[origin[again]]])
    number = rng.integers(0, max(1, int(0.7 * n_sessions)), n_sessions)  # drawn with replacement: ids recur
    way = rng.integers(0, len(SOURCES), n_sessions)
    by_time = np.argsort(at, kind="stable")  # sessions by time, so that a row's place needs one small key
    place = np.empty(n_sessions, np.int64)
    place[by_time] = np.arange(n_sessions)
    order = _shuffled_by(rng, place[session])
    keyword = queries(rng, world, text, clicks.item[origin])
    for start in range(0, max(len(order), 1), ROWS_PER_BLOCK):
        rows = order[start : start + ROWS_PER_BLOCK]
        its, n = session[rows], len(rows)
        count = np.where(rows < n_clicked, 1 + (rng.random(n) < 0.1), 0)
        foreign = (count == 0) & (rng.random(n) < FOREIGN)
        kind = np.where(foreign, rng.integers(1, len(FOREIGN_TYPES), n), 0)
        yield pa.table(
            {
                "keyword": keyword.take(pa.array(its)),
                "item_id": np.where(foreign, 3 * world.n_items + item[rows], raw_item[item[rows]]),
                "click_cnt": count.astype(np.int32),
                "search_session_id": number[its],
                "item_type": FOREIGN_TYPES.take(pa.array(kind)),
                "user_id": clicks.user[origin[its]],
                "search_session_timestamp": at[its],
                "search_source": SOURCES.take(pa.array(way[its])),
                "search_session_time": _clock_text(at[its]),
            }
        )


def _same_leaf(rng: np.random.Generator, world: World, item: np.ndarray) -> np.ndarray:
    """An item of the same leaf category for each of ``item``."""
    order = np.argsort(world.leaf, kind="stable")
    edges = np.searchsorted(world.leaf[order], np.arange(len(world.leaves) + 1))
    start, stop = edges[world.leaf[item]], edges[world.leaf[item] + 1]
    return order[start + (rng.random(len(item)) * (stop - start)).astype(np.int64)]


def _users(rng: np.random.Generator, rec: _Clicks, src: _Clicks, users: np.ndarray) -> Iterator[pa.Table]:
    n = len(users)
    searches, clicks = (np.bincount(each.user - users[0], minlength=n) for each in (src, rec))
    yield pa.table(
        {
            "user_id": users,
            "onehot_feat1": rng.integers(0, 7, n),
            "onehot_feat2": rng.integers(0, 2, n),
            "search_active_level": np.minimum(searches // 3, 5),
            "reco_active_level": np.minimum(clicks // 4, 5),
        }
    )


def _social(rng: np.random.Generator, users: np.ndarray) -> Iterator[pa.Table]:
    user = np.repeat(users, rng.integers(0, 4, len(users)))
    yield pa.table({"user_id": user, "user_follow_id": rng.choice(users, len(user))})
