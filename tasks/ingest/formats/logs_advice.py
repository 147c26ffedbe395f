"""Warnings of the check of own logs, each with the field to set, and a complete config."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Sequence
from typing import Any

from gensr_model.config.base import Proposal
from gensr_model.config.pipeline import PipelineConfig
from tasks.ingest.tables.roles import USUAL, bare

Notes = dict[str, str]  # path of a field -> its comment in a config file
NO_TYPE = "(no type)"  # the event type of rows that have none, in logs.behaviors and on the screen
_ALIKE = 0.75
#: Roles that are worth a look at the columns that nothing uses.
_OPTIONAL = {
    "events": ("behavior", "query", "query_id", "session"),
    "items": ("title", "brand", "category", "description"),
}
_MANY_REPEATS = 0.4  # share of engagements; a file that is there twice makes half or more
_OTHER_WORDS = {"query": ("search", "keywords", "term"), "behavior": ("type", "event")}


def advice(result: dict[str, Any]) -> list[str]:
    """Sentences on the content of ``check.json``."""
    known = {(column["table"], column["role"]) for column in result["columns"]}
    return [
        *(
            f"Column {column} of the {table} may be the {role}: then set logs.{table}.columns.{role} to it."
            for table, role, column in _likely_columns(result, known)
        ),
        *_types_without_rows(result),
        *_one_task(result, known),
        *_events(result, known),
        *_joins(result, known),
    ]


def _likely_columns(result: dict[str, Any], known: set[tuple[str, str]]) -> Iterator[tuple[str, str, str]]:
    """(table, role, column): unused columns with names like those of a role that no column has."""
    for table, columns in result["unused"].items():
        for role, usual in USUAL[table].items():
            names = [bare(name) for name in (role, *usual, *_OTHER_WORDS.get(role, ()))]
            others = {bare(each) for each in USUAL[table] if each != role}  # item is not like term
            like = [name for name in columns if bare(name) not in others and _likeness(name, names) >= _ALIKE]
            if like and (table, role) not in known:
                yield table, role, max(like, key=lambda name: _likeness(name, names))


def _likeness(name: str, names: Sequence[str]) -> float:
    return max(difflib.SequenceMatcher(None, each, bare(name)).ratio() for each in names)


def _types_without_rows(result: dict[str, Any]) -> Iterator[str]:
    """Event types that the config names and no row has."""
    seen = result["event_types"]
    for name in result["behaviors_without_rows"]:
        near = sorted(seen, key=lambda each: -difflib.SequenceMatcher(None, each.lower(), name.lower()).ratio())[:3]
        yield f"logs.behaviors names the event type {name!r}, which no row has. " + (
            f"The nearest types that rows have: {', '.join(near)}." if near else "No row has a type."
        )


def _one_task(result: dict[str, Any], known: set[tuple[str, str]]) -> Iterator[str]:
    events = result.get("events")
    if not events or not events["users"]:
        return
    if not events["search"]:
        asked = ("events", "query") in known
        yield "No event is a search, so recommendation alone is trained and ranked. " + (
            "No engagement has a query." if asked else "If the logs have queries, set logs.events.columns.query."
        )
    if not events["recommendation"]:
        yield (
            "Every event is a search, so search alone is trained and ranked. If the logs have clicks outside search, "
            "bring their rows, with an empty query."
        )
    if events["search"] and events["recommendation"] and events["users_with_both"] < 0.1 * events["users"]:
        yield (
            f"{events['users_with_both']:,} of {events['users']:,} users both searched and took recommendations, and "
            "only they tell what one behavior says of the other. Set logs.keep_users to both to leave the others out."
        )


def _events(result: dict[str, Any], known: set[tuple[str, str]]) -> Iterator[str]:
    read = result["counts"].get("read", {})
    if ("events", "behavior") not in known:
        yield (
            "No column says what kind of event a row is, so every row counts as an engagement. If some are "
            "impressions, set logs.events.columns.behavior."
        )
    if untyped := result["untyped"]:
        yield (
            f"{untyped:,} rows have no event type, and nobody knows what they are: they count as ignored. If "
            f'they are engagements, set logs.behaviors to {{"{NO_TYPE}": rec}}. Else set it to ignored.'
        )
    if lost := read.get("searches_without_text"):
        todo = "no row with their query_id has its text. Bring the table of searches (logs.queries)"
        if ("events", "query_id") not in known:
            todo = "they have no text. If another row has it, set logs.events.columns.query_id to the id of both rows"
        yield f"{lost:,} events of a search are left out: {todo}, or set logs.events.columns.query."
    merged, engaged = read.get("repeats_merged", 0), read.get("event_rows", 0) - read.get("ignored_by_type", 0)
    if merged > _MANY_REPEATS * engaged:
        yield (
            f"{merged:,} of {engaged:,} engagements are those of another row once more, and count once. If two files "
            "hold the same events, move one of them away."
        )
    hour, events = 3_600_000, result.get("events")  # days of any time zone begin at one
    if events and events["tied"] and events["first_ms"] % hour == 0 and events["last_ms"] % hour == 0:
        yield (
            "The times look like whole days or hours, so events of one have no order. Set "
            "logs.events.columns.time to a column with finer times, if there is one."
        )


def _joins(result: dict[str, Any], known: set[tuple[str, str]]) -> Iterator[str]:
    items = result["counts"].get("items_described")
    if items and items["items"] and items["listed"] and items["described"] < 0.8 * items["items"]:
        yield (
            f"The items table has a row for {items['described']:,} of {items['items']:,} items of the events. Bring "
            "the others, or set logs.items.columns.item to the column with the same ids."
        )
    if repeated := result["notes"].get("repeated_items"):
        yield (
            f"Rows of the items table that repeat the id of an earlier row: {repeated:,}. They are left out. If their "
            "texts are the right ones, remove the earlier rows."
        )
    if items and not items["listed"] and ("events", "item_title") not in known:
        yield "There is no row of items, so models that read texts know nothing of them. Bring a file items.csv."


# --- the config file of `gensr init` ----------------------------------------------------------------------------


def larger_test(result: dict[str, Any], config: PipelineConfig, times: float) -> str:
    """What to set ``logs.split`` to for a test part that many times larger. Empty where no split is known to do it."""
    split = result.get("split", {})
    if split.get("by") == "days":
        now, most = config.logs.split.days, split["days_with_events"] // 4  # valid has as many, train the other half
        days = min(math.ceil(now * times), most)
        return f"logs.split to {{by: days, days: {days}}}" if days > now else "logs.split to {by: leave_one_out}"
    return "logs.split to {by: time_share}" if split.get("by") == "leave_one_out" else ""


def explicit(result: dict[str, Any], config: PipelineConfig) -> tuple[dict[str, Any], Notes]:
    """The section ``logs`` of a config file with everything that the check detected, and notes."""
    logs: dict[str, Any] = {}
    notes: Notes = {}
    for table in (each for each in result["tables"] if each["files"]):
        name = table["table"]
        place = f"logs.{name}"
        logs[name] = {
            "name": getattr(config.logs, name).name,
            "columns": _columns(result, config, name, table["files"], notes),
        }
        rows = "" if table["rows"] is None else f"{table['rows']:,} rows; "
        notes[f"{place}.name"] = f"{rows}files whose names begin so: {table['files']:,}"
    for table_name, role, column in _likely_columns(result, {(c["table"], c["role"]) for c in result["columns"]}):
        logs[table_name]["columns"][role] = Proposal(column)
        notes[f"logs.{table_name}.columns.{role}"] = "the name is alike: remove the # if it is right"
    for table_name, unused in result["unused"].items():
        for role in _OPTIONAL.get(table_name, ()) if unused else ():
            if role not in logs[table_name]["columns"]:
                logs[table_name]["columns"][role] = Proposal("???")
                notes[f"logs.{table_name}.columns.{role}"] = "optional: name a column and remove the #, if there is one"
    units = {each["unit"] for each in result["time_units"] if each["why"] != "its type"}
    if len(units) == len(result["time_units"]) == 1:
        logs["events"]["time_unit"] = units.pop()
    if any(each["read_in"] for each in result["time_units"]):
        logs["events"]["time_zone"] = config.logs.events.time_zone
        notes["logs.events.time_zone"] = "the times name no zone: correct it if this is not theirs"
    types = result["event_types"]
    logs["behaviors"] = {name: each["behavior"] for name, each in types.items()}
    notes |= {f"logs.behaviors.{name}": f"{each['rows']:,} rows" for name, each in types.items()}
    notes["logs.behaviors"] = (
        "rec and src are engagements, which with a query are searches; shown is an impression; or ignored"
    )
    split = result.get("split", {})
    if by := split.get("by"):
        shown = {"days": ("days", "zone"), "time_share": ("time_share",)}.get(by, ())
        dumped = config.logs.split.model_dump(mode="json")
        logs["split"] = {"by": by} | {name: dumped[name] for name in shown}
        notes["logs.split.by"] = split["why"]
    return {"logs": logs}, notes


def _columns(result: dict[str, Any], config: PipelineConfig, table: str, files: int, notes: Notes) -> dict[str, Any]:
    """Role -> its column or columns. A name that not every file has ends in a question mark."""
    roles = list(type(getattr(config.logs, table).columns).model_fields)
    columns: dict[str, Any] = {}
    for each in sorted((c for c in result["columns"] if c["table"] == table), key=lambda c: roles.index(c["role"])):
        names = each["columns"] if each["files"] == files else [f"{name}?" for name in each["columns"]]
        columns[each["role"]] = [*columns.get(each["role"], []), *names]
        notes[f"logs.{table}.columns.{each['role']}"] = each["why"]
    without = [role for role in roles if role not in columns]
    unused = result["unused"].get(table, [])
    sides = [("no column is", without), ("not used", unused)]
    notes[f"logs.{table}.columns"] = "; ".join(f"{what}: {', '.join(names)}" for what, names in sides if names)
    return {role: names if len(names) > 1 else names[0] for role, names in columns.items()}
