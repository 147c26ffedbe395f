"""Preparation of own logs: engagements among the events, and the three splits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import duckdb

from gensr_model.config.pipeline import PipelineConfig
from gensr_model.errors import DataError
from tasks.core import sql_runner
from tasks.ingest.formats.amazon import add_search_events, register_stems, require_queries

ENOUGH_DAYS = 14  # smallest number of days with events for a split by days


def keeps_both(config: PipelineConfig) -> bool:
    """Whether only users with a search and a recommendation stay."""
    return config.logs.keep_users == "both"


def engagements(con: duckdb.DuckDBPyConnection, config: PipelineConfig, counts: dict[str, Any]) -> None:
    """Make the tables ``asked``, the texts of searches, and ``engagements``, engaged events with the text of theirs."""
    del counts
    sql_runner.run(con, "logs/asked")
    sql_runner.run(con, "logs/engagements", _searches(config))


def impressions(con: duckdb.DuckDBPyConnection, config: PipelineConfig, counts: dict[str, Any]) -> None:
    """Make the tables ``shown`` and ``engaged_lists``, where the logs have impressions."""
    del counts
    sql_runner.run(con, "logs/shown", _searches(config))
    if con.table("shown").shape[0]:
        sql_runner.run(con, "logs/engaged_lists")
    else:
        sql_runner.run(con, "prepared/drop_shown")


def _searches(config: PipelineConfig) -> dict[str, Any]:
    return {"search_by": config.logs.events.search_by, "without_text": config.logs.queries.without_text}


def require_joins(con: duckdb.DuckDBPyConnection, config: PipelineConfig, counts: dict[str, Any]) -> None:
    """Count items with and without a row of the items table.

    Raises DataError where no event is an engagement, and where no id is in both tables.
    """
    del config
    read = counts["read"]
    if not read["recommendation_events"] + read["search_events"]:
        raise DataError(
            f"no event is an engagement: of {read['event_rows']:,} events {read['ignored_by_type']:,} are ignored and "
            f"{read['impressions']:,} impressions (logs.behaviors), and {read['searches_without_text']:,} belong to a "
            "search whose text nobody knows."
        )
    (row,) = sql_runner.to_arrow(con, "logs/described_items").to_pylist()
    counts["items_described"] = row
    if row["items"] and row["listed"] and not row["described"]:
        raise DataError(
            f"no item of the events is in the items table: the events name ids such as {row['of_events']!r}, the "
            f"items {row['of_items']!r}. Set logs.events.columns.item or "
            "logs.items.columns.item, so that both are the same ids."
        )


def category_searches(con: duckdb.DuckDBPyConnection, config: PipelineConfig, counts: dict[str, Any]) -> None:
    """Add a search to each engagement, as format amazon does, if ``logs.category_queries`` is on.

    Raises DataError where the logs have searches, or no category path gives a query.
    """
    if not config.logs.category_queries:
        return
    if searches := counts["read"]["search_events"]:
        raise DataError(
            f"logs.category_queries is on, but the events hold {searches:,} real searches. Set "
            "logs.category_queries to false."
        )
    for step in ("amazon/stop_words", "logs/item_paths", "amazon/path_words"):
        sql_runner.run(con, step)
    register_stems(con, config, counts)
    for step in ("amazon/path_queries", "amazon/item_queries"):
        sql_runner.run(con, step)
    add_search_events(con, config, counts)
    (counts["category_queries"],) = sql_runner.to_arrow(con, "amazon/search_counts").to_pylist()
    require_queries(con, config, counts)


def event_split(con: duckdb.DuckDBPyConnection, config: PipelineConfig, counts: dict[str, Any]) -> None:
    """Make the table ``event_split`` by ``logs.split``. The counts hold the chosen split and its reason."""
    split = config.logs.split
    zone = {"zone": split.zone}
    days = sql_runner.run(con, "logs/day_counts", zone).fetchall()
    by, why = split.by, "logs.split.by says so"
    if by == "auto":
        by = "days" if len(days) >= ENOUGH_DAYS else "leave_one_out"
        why = f"{len(days)} days have events; from {ENOUGH_DAYS} days on the split is by days"
    if by == "days":
        sql_runner.run(con, "logs/split_by_days", {**zone, "days": split.days})
        last = ", ".join(f"{day}: {events:,}" for day, events in days[-2 * split.days - 1 :])
        rule = f"by day in {split.zone}: the last {split.days} with events test, {split.days} before valid; {last}"
    elif by == "time_share":
        train, valid, _ = split.time_share
        sql_runner.run(con, "logs/split_by_time_share", {"train": train, "valid": train + valid})
        rule = "by time: the first {} of the events train, then {} valid, {} test".format(*split.time_share)
    else:
        sql_runner.run(con, "logs/split_leave_one_out")
        rule = (
            "leave one out: a user's last event is test, the one before valid, each with those of its query or instant"
        )
    counts["split"] = {"rule": rule, "by": by, "why": why, "days_with_events": len(days)}


def zone_of_days(config: PipelineConfig, counts: Mapping[str, Any]) -> str | None:
    """The time zone of the split's days. None for a split that is not by days."""
    return config.logs.split.zone if counts["split"]["by"] == "days" else None
