"""The table ``interactions``: the engaged rows of the raw tables, cut to the k-core.

One machine has it in one database. On a cluster each range of users has a file, and counts of items are the only thing
that ranges tell each other.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import duckdb

from gensr_model.config.pipeline import PipelineConfig
from gensr_model.errors import DataError
from tasks.core.cluster import Cluster
from tasks.core.dataset_format import Count, Step, dataset_format, open_raw
from tasks.core.sql_runner import run
from tasks.prepare import schemas as files
from tasks.prepare.user_ranges import UserRanges

_STEPS_SHOWN = 5


class Interactions(Protocol):
    """The table ``interactions`` of ``con``, wherever its rows are."""

    con: duckdb.DuckDBPyConnection

    def step(self, name: str | None = None, params: dict[str, Any] | None = None) -> dict[str, int]:
        """Run a query that keeps some rows. Returns the numbers of users, items and interactions.

        Afterwards ``item_counts`` of ``con`` counts the interactions of each item, once or by range.
        """

    def rare_items(self, k: int) -> None:
        """Make the table ``rare_items``, those with fewer than ``k`` interactions, for the next step."""

    def finish(self) -> None:
        """Bring all rows into ``con``."""


class Here:
    """All rows in one database."""

    def __init__(self, con: duckdb.DuckDBPyConnection) -> None:
        self.con = con

    def step(self, name: str | None = None, params: dict[str, Any] | None = None) -> dict[str, int]:
        if name is not None:
            run(self.con, name, params)
        run(self.con, "prepared/item_counts")
        return files.one_row(self.con, "prepared/size")

    def rare_items(self, k: int) -> None:
        run(self.con, "prepared/rare_items", {"k": k})

    def finish(self) -> None:
        run(self.con, "prepared/drop_counts")


def run_steps(
    con: duckdb.DuckDBPyConnection, steps: Iterable[Step], config: PipelineConfig, counts: dict[str, Any]
) -> None:
    """Run steps of a format in order."""
    for step in steps:
        if isinstance(step, str):
            run(con, step)
        elif isinstance(step, Count):
            counts[step.name] = files.one_row(con, step.query)
        else:
            step(con, config, counts)


def tables_of(con: duckdb.DuckDBPyConnection) -> set[str]:
    """The tables that the steps so far have made."""
    return {table for (table,) in run(con, "prepared/tables").fetchall()}


def engaged_rows(con: duckdb.DuckDBPyConnection, config: PipelineConfig, counts: dict[str, Any]) -> None:
    """Make ``interactions`` from the views of raw tables, and what the format makes with it."""
    run_steps(con, dataset_format(config.format).preparing.interactions, config, counts)
    if config.prepare.until:
        until = datetime.fromisoformat(config.prepare.until)
        ((counts["left_out_by_until"],),) = run(
            con, "prepared/until", {"until": int(until.timestamp() * 1000)}
        ).fetchall()


def read_interactions(
    con: duckdb.DuckDBPyConnection,
    raw: Path,
    config: PipelineConfig,
    counts: dict[str, Any],
    scratch: Path,
    cluster: Cluster | None = None,
) -> Interactions:
    """Make ``interactions`` from the folder ``raw``: each engaged row once. Raises as ``build_prepared``.

    On a cluster, ``scratch`` holds the files of ranges.
    """
    entry = dataset_format(config.format)
    open_raw(con, raw, entry)
    rows: Interactions = Here(con)
    if cluster is None or not entry.preparing.by_user:
        engaged_rows(con, config, counts)
        if cluster is not None:
            rows = UserRanges.of_table(cluster, con, config, scratch)
    else:
        rows = UserRanges.of_raw(cluster, con, config, scratch, raw, engaged_rows, counts)
    interactions = con.table("interactions").shape[0]
    if counts.get("left_out_by_until") and interactions == 0:
        raise DataError(f"no event is before prepare.until, {config.prepare.until}. Set a later time, or null.")
    if interactions == 0:
        raise DataError(
            "the raw tables have no engaged row (a purchase, click = 1, click_cnt > 0); read: "
            f"{counts.get('read')}. Check that the source folder holds the interactions of this "
            "format."
        )
    return rows


def filter_interactions(rows: Interactions, config: PipelineConfig, counts: dict[str, Any]) -> None:
    """Cut ``interactions`` to the k-core and, for some formats, to users with both behaviors.

    The steps repeat until neither removes a row. Search events that a format derives from purchases come after the
    filter, so a purchase counts once, as in the 5-core files that the paper starts from. Raises DataError where nothing
    is left.
    """
    k, both = config.prepare.min_interactions, dataset_format(config.format).preparing.both_behaviors
    both = both(config) if callable(both) else both
    steps: list[dict[str, Any]] = [{"step": "read", **rows.step()}]

    def keep(step: str, name: str, params: dict[str, Any] | None = None) -> bool:
        """Run one step of the filter. False where it removes nothing."""
        steps.append({"step": step, **rows.step(name, params)})
        return bool(steps[-1]["interactions"] < steps[-2]["interactions"])

    if both:
        keep("users with both behaviors", "prepared/both_behaviors")
    start, core = steps[-1], {"k": k, "both_behaviors": both}
    rows.rare_items(k)
    while keep(f"k-core of {k}, round {len(steps) - steps.index(start)}", "prepared/k_core_step", core):
        rows.rare_items(k)
    rows.finish()
    end = steps[-1]
    counts["filter"] = {
        "steps": steps,
        "users_without_both_behaviors": steps[0]["users"] - start["users"],
        "users_removed_by_k_core": start["users"] - end["users"],
        "items_removed_by_k_core": start["items"] - end["items"],
    }
    if end["interactions"] == 0:
        some = steps if len(steps) <= _STEPS_SHOWN else [*steps[: _STEPS_SHOWN - 1], steps[-1]]
        shown = "; ".join(f"{s['step']}: {s['users']} users, {s['items']} items" for s in some)
        raise DataError(
            f"the filters leave no interaction. {shown}. Lower prepare.min_interactions (now {k}) or bring more data"
            + (" with users who both searched and clicked recommendations." if both else ".")
        )
