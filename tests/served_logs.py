"""A tiny shop's lists and clicks, written by the log of the service, and the same in plain Python."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gensr_model.config.pipeline import PipelineConfig
from gensr_model.serving.event_log import EventLog
from tasks.ingest.ingest import build_raw
from tasks.prepare.prepare import build_prepared

START = 1_700_000_000  # seconds
USERS, ITEMS = 60, 40


class Shown(NamedTuple):
    """A list as the service logged it."""

    user: str
    query: str | None
    items: list[str]


@dataclass
class World:
    """What was logged: lists by query_id, and clicks as (user, item, query_id or None, seconds)."""

    lists: dict[str, Shown] = field(default_factory=dict)
    clicks: list[tuple[str, str, str | None, int]] = field(default_factory=list)


def write_world(folder: Path, users: int = USERS, seed: int = 0) -> World:
    """Four lists of each user with a click on each, and a second click or one without a list now and then."""
    draw, world, now = np.random.default_rng(seed), World(), [float(START)]
    log = EventLog(folder, clock=lambda: now[0])
    for turn in range(6):
        for number in range(users):
            user, query = f"u{number}", f"word{number % 5}" if (number + turn) % 2 else None
            now[0] = START + 3_600 * turn + 10 * number
            items = [f"i{n:02d}" for n in draw.permutation(ITEMS)[: 3 + int(draw.integers(6))]]
            query_id = log.shown(user, query, items, "v1")
            world.lists[query_id] = Shown(user, query, items)
            for taken in draw.permutation(items)[: 1 + number % 2].tolist():
                now[0] += 1
                log.event("click", query_id, taken, user, items.index(taken))
                world.clicks.append((user, taken, query_id, int(now[0])))
            if draw.random() < 0.2:
                now[0] += 1
                log.event("view", None, items[0], user)
                world.clicks.append((user, items[0], None, int(now[0])))
    log.close()
    assert log.lost == 0
    return world


def config(**changes: Any) -> PipelineConfig:
    """The logs of ``write_world``, whole, with lists of at most five negatives."""
    prepare = {"min_interactions": 1, "negatives": 5, "threads": 1, "protocols": ["uniform", "shown"]}
    tree = {"name": "served", "format": "logs", "prepare": prepare | changes.pop("prepare", {}),
            "logs": {"layout": "gensr-serve", "split": {"by": "leave_one_out"}}}  # fmt: skip
    return PipelineConfig.model_validate(tree | changes)


def prepared(source: Path, given: PipelineConfig) -> Path:
    """``source`` through ingest and prepare, into sibling folders."""
    raw, out = (source.parent / f"{source.name}-{name}" for name in ("raw", "prepared"))
    raw.mkdir()
    out.mkdir()
    build_raw(given, source, raw)
    build_prepared(raw, given, out)
    return out
