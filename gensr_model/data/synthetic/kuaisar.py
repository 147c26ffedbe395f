"""Writes the generated world in the raw format of KuaiSAR: five CSV files, words as anonymised ids.

A choice of the world is a click, on a recommendation or in a search session whose query follows the intent of the
moment. Around the clicks: shown and ignored items at the same delivery time, sessions without a click, and the
quirks of the published files (recurring session ids, rows of a session that disagree, missing categories).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from gensr_model.config import GeneratedSource
from gensr_model.data.synthetic.kuaisar_text import KuaiText, build_text, captions, queries
from gensr_model.data.synthetic.words import TREE
from gensr_model.data.synthetic.world import Choices, World, build_world, choose

DAYS = 10
FIRST_DAY_MS = 1_684_684_800_000  # 2023-05-22 00:00 in Beijing
HOUR_MS, BEIJING_MS = 3_600_000, 8 * 3_600_000
SEARCH_SHARE = 0.45  # of the clicks
EMPTY_SESSIONS = 0.65  # sessions without a click, per session with one: about 60% have a click
TIED = 0.04  # clicks delivered together with the user's click before
CONFLICTS, FOREIGN = 0.03, 0.05  # clicked rows repeated as not clicked; shown rows that are no video


def write_kuaisar(folder: Path, source: GeneratedSource) -> None:
    """Write rec_inter, src_inter, item_features, user_features and social_network .csv into ``folder``.

    The same ``source`` gives the same bytes. Clicks fall on ten days, 2023-05-22 to 2023-05-31 in Beijing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([source.world_seed, 6])
    world = build_world(source)
    text = build_text(world, rng)
    clicks = choose(world, source, spread=1.0)
    ms = _beijing_times(rng, clicks)
    raw_item = rng.permutation(world.n_items * 3)[: world.n_items]
    searched = rng.random(len(ms)) < SEARCH_SHARE
    _write(folder / "item_features.csv", _items(rng, world, text, raw_item))
    _write(folder / "rec_inter.csv", _recommendations(rng, world, clicks, ms, ~searched, raw_item))
    _write(folder / "src_inter.csv", _searches(rng, world, text, clicks, ms, searched, raw_item))
    _write(folder / "user_features.csv", _users(rng, clicks, searched, source.users))
    _write(folder / "social_network.csv", _social(rng, source.users))


def _write(path: Path, table: pa.Table) -> None:
    pacsv.write_csv(table, path, pacsv.WriteOptions(quoting_style="needed"))


def _beijing_times(rng: np.random.Generator, clicks: Choices) -> np.ndarray:
    """(events,) UTC milliseconds: clicks between 7:00 and 24:00 in Beijing, some tied with the one before."""
    days = clicks.time * DAYS
    day = np.floor(days)
    ms = FIRST_DAY_MS + (day * 24 * HOUR_MS + (7 + 16.99 * (days - day)) * HOUR_MS).astype(np.int64)
    tied = np.flatnonzero((rng.random(len(ms)) < TIED) & (np.diff(clicks.user, prepend=-1) == 0))
    ms[tied] = ms[tied - 1]
    return ms


def _clock_text(ms: np.ndarray) -> pa.Array:
    seconds = pa.array((ms + BEIJING_MS) // 1000).cast(pa.timestamp("s"))
    return pc.strftime(seconds, "%Y-%m-%d %H:%M:%S")


def _recommendations(
    rng: np.random.Generator,
    world: World,
    clicks: Choices,
    ms: np.ndarray,
    chosen: np.ndarray,
    raw_item: np.ndarray,
) -> pa.Table:
    """Clicks, and as many shown items without one, delivered at the same time."""
    rows = np.flatnonzero(chosen)
    ignored = np.repeat(rows, rng.integers(0, 3, len(rows)))
    user = np.concatenate([clicks.user[rows], clicks.user[ignored]])
    item = np.concatenate([clicks.item[rows], rng.choice(world.n_items, len(ignored), p=world.weight)])
    click = np.arange(len(user)) < len(rows)
    at = np.concatenate([ms[rows], ms[ignored]])
    order = np.lexsort(
        (rng.random(len(at)), at)
    )  # by delivery; a click may stand before or after its neighbours
    user, item, click, at = user[order], item[order], click[order], at[order]
    n = len(at)
    duration = rng.integers(5_000, 180_000, n)
    return pa.table(
        {
            "user_id": user,
            "item_id": raw_item[item],
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
    rng: np.random.Generator,
    world: World,
    text: KuaiText,
    clicks: Choices,
    ms: np.ndarray,
    chosen: np.ndarray,
    raw_item: np.ndarray,
) -> pa.Table:
    """Sessions of shown results: the clicked ones of the world, and sessions where nothing was clicked."""
    rows = np.flatnonzero(chosen)
    idle = rng.choice(len(ms), int(len(rows) * EMPTY_SESSIONS))
    origin = np.concatenate([rows, idle])  # the choice whose user and intent a session has
    n_sessions = len(origin)
    clicked = np.arange(n_sessions) < len(rows)
    late = rng.integers(1_000, 600_000, n_sessions)
    at = ms[origin] + np.where(clicked, 0, late)
    keyword = queries(rng, world, text, clicks.item[origin])
    # Shown beside the clicked one: the same leaf two times in three, anything popular otherwise.
    shown = np.repeat(np.arange(n_sessions), rng.integers(2, 6, n_sessions))
    anything = rng.choice(world.n_items, len(shown), p=world.weight)
    other = np.where(
        rng.random(len(shown)) < 0.67, _same_leaf(rng, world, clicks.item[origin[shown]]), anything
    )
    again = np.flatnonzero(clicked & (rng.random(n_sessions) < CONFLICTS))
    session = np.concatenate([np.flatnonzero(clicked), shown, again])
    item = np.concatenate([clicks.item[rows], other, clicks.item[origin[again]]])
    count = np.where(np.arange(len(session)) < len(rows), 1 + (rng.random(len(session)) < 0.1), 0)
    foreign = (count == 0) & (rng.random(len(session)) < FOREIGN)
    kind = np.where(foreign, rng.choice(np.array(["USER", "LIVE", "MUSIC", "ADVERT"]), len(session)), "VIDEO")
    ids = np.where(foreign, 3 * world.n_items + item, raw_item[item])
    number = rng.integers(0, max(1, int(0.7 * n_sessions)), n_sessions)  # drawn with replacement: ids recur
    source = rng.choice(np.array(["USER_INPUT", "SUG_SEARCH", "HISTORY", "RECO_SEARCH"]), n_sessions)
    order = np.lexsort((rng.random(len(session)), session, at[session]))
    session = session[order]
    return pa.table(
        {
            "keyword": keyword.take(pa.array(session)),
            "item_id": ids[order],
            "click_cnt": count[order].astype(np.int32),
            "search_session_id": number[session],
            "item_type": kind[order],
            "user_id": clicks.user[origin[session]],
            "search_session_timestamp": at[session],
            "search_source": source[session],
            "search_session_time": _clock_text(at[session]),
        }
    )


def _same_leaf(rng: np.random.Generator, world: World, item: np.ndarray) -> np.ndarray:
    """An item of the same leaf category for each of ``item``."""
    order = np.argsort(world.leaf, kind="stable")
    edges = np.searchsorted(world.leaf[order], np.arange(len(world.leaves) + 1))
    start, stop = edges[world.leaf[item]], edges[world.leaf[item] + 1]
    return order[start + (rng.random(len(item)) * (stop - start)).astype(np.int64)]


def _items(rng: np.random.Generator, world: World, text: KuaiText, raw_item: np.ndarray) -> pa.Table:
    n = world.n_items
    department = np.array([d for d, _, _ in world.leaves])[world.leaf]
    chinese = [TREE[name][0] for name in world.departments]
    kinds = [name.title() for _, _, names in world.leaves for name in names]
    levels = [
        ("first", department + 1, chinese, world.departments, 0.06),
        ("second", world.leaf + 101, [f"{chinese[d]}类{i}" for i, (d, _, _) in enumerate(world.leaves)],
         [name for _, name, _ in world.leaves], 0.10),
        ("third", 1_001 + 4 * world.leaf.astype(np.int64) + world.kind, [f"品种{i}" for i in range(len(kinds))],
         kinds, 0.35),
        ("fourth", np.full(n, 9_001), ["其他"], ["Other"], 1.0),
    ]  # fmt: skip
    first_id = {"first": 1, "second": 101, "third": 1_001, "fourth": 9_001}
    columns = {
        "item_id": raw_item,
        "caption": captions(rng, world, text),
        "author_id": np.where(rng.random(n) < 0.05, 0, rng.integers(1, 1 + n // 3, n)),
        "item_type": rng.choice(np.array(["NORMAL", "AD"]), n, p=[0.97, 0.03]),
        "upload_time": np.where(rng.random(n) < 0.03, "1970-1-1", "2023-05-01"),
        "upload_type": rng.choice(np.array(["LongImport", "ShortImport", "Kmovie"]), n),
        "music_id": rng.integers(0, 500, n),
    }
    missing = np.zeros(n, bool)
    for level, ids, zh, en, share in levels:
        missing = missing | (rng.random(n) < share)  # nothing stands below a missing level
        at = pa.array(ids - first_id[level])
        gap = pa.array(missing)
        unknown = pa.array(rng.choice(np.array(["UNKNOWN", "empty"]), n))
        columns[f"{level}_level_category_id"] = np.where(missing, 0, ids)
        columns[f"{level}_level_category_name"] = pc.if_else(gap, "空", pa.array(zh).take(at))
        columns[f"{level}_level_category_name_en"] = pc.if_else(gap, unknown, pa.array(en).take(at))
    order = np.argsort(raw_item)
    return pa.table(columns).take(pa.array(order))


def _users(rng: np.random.Generator, clicks: Choices, searched: np.ndarray, users: int) -> pa.Table:
    src = np.bincount(clicks.user[searched], minlength=users)
    rec = np.bincount(clicks.user[~searched], minlength=users)
    return pa.table(
        {
            "user_id": np.arange(users),
            "onehot_feat1": rng.integers(0, 7, users),
            "onehot_feat2": rng.integers(0, 2, users),
            "search_active_level": np.minimum(src // 3, 5),
            "reco_active_level": np.minimum(rec // 4, 5),
        }
    )


def _social(rng: np.random.Generator, users: int) -> pa.Table:
    user = np.repeat(np.arange(users), rng.integers(0, 4, users))
    return pa.table({"user_id": user, "user_follow_id": rng.integers(0, users, len(user))})
