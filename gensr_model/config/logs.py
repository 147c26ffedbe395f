"""Config of own logs: the files of each table, the role of each column, and the split.

Ingest detects what the config leaves out: columns by their usual names (``tasks/ingest/tables/roles.py``), the time
unit from the whole column, and delimiter and quoting from the first block of a file.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from typing import Annotated, Any, ClassVar, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, StringConstraints, field_validator

from gensr_model.config.base import Frozen, overlay
from gensr_model.config.layouts import LAYOUTS, LINE_STEPS

Behavior = Literal["rec", "src", "shown", "ignored"]
Name = Annotated[str, StringConstraints(min_length=1)]
# Several columns of one role: texts are joined, and categories are levels of a path. In all other roles the first
# column with a value counts. A column whose name ends in ? may be absent.
Names = Name | Annotated[tuple[Name, ...], Field(min_length=1)]


def _known_zone(zone: str) -> str:
    try:
        ZoneInfo(zone)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"{zone!r} is no time zone. Give a name such as UTC or Europe/Berlin.") from error
    return zone


def _parts_fields(sign: str) -> str:
    if len(sign) != 1 or not sign.isascii() or sign in '"\r\n\0':
        raise ValueError(f"{sign!r} is no delimiter. Give one ASCII character that is neither a quote nor a line end.")
    return sign


_STEM = r"^(?![._])[^/\\]*[^/\\\s][^/\\]*(?![\s\S])"


def _begins_names(name: str) -> str:
    if not re.match(_STEM, name):
        raise ValueError(
            f"{name!r} begins no file name that is read. Give the beginning of a name, not a path, without . or _ ahead"
        )
    return name


def _names_a_day(form: str) -> str:
    day = dt.datetime(2026, 8, 15)
    try:
        same = dt.datetime.strptime(day.strftime(form), form).date() == day.date()
    except ValueError:
        same = False
    if not same:
        raise ValueError(f"{form!r} names no day, month and year. Give a format such as %d.%m.%Y %H:%M.")
    return form


Stem = Annotated[str, AfterValidator(_begins_names), Field(json_schema_extra={"pattern": _STEM})]
Zone = Annotated[str, AfterValidator(_known_zone)]
TimeFormat = Annotated[str, AfterValidator(_names_a_day)]


class EventColumns(Frozen):
    """Columns of the events table by role. For JSON lines and Parquet a column may be a path: ``object.id``."""

    user: Names | None = Field(None, description="Column with the user id.")
    item: Names | None = Field(None, description="Column with the item id.")
    time: Names | None = Field(None, description="Column with the time of the event.")
    behavior: Names | None = Field(
        None,
        description="Column with the event type. Without this column every row is an engagement. With it, a row "
        "without a type is ignored.",
    )
    query: Names | None = Field(
        None, description="Column with the text of the search. A row with an empty query is a recommendation."
    )
    query_id: Names | None = Field(
        None, description="Column with the id of the search. Its text is in the queries table or in any event."
    )
    session: Names | None = Field(None, description="Column with the session id.")
    weight: Names | None = Field(None, description="Column with the weight of the event, such as a rating.")
    position: Names | None = Field(None, description="Column with the position of the item in the shown list.")
    item_title: Names | None = Field(
        None, description="Column with the item's title, for items that the items table does not describe."
    )


class ItemColumns(Frozen):
    """Columns of the items table by role."""

    item: Names | None = Field(None, description="Column with the item id.")
    title: Names | None = Field(None, description="Column with the title.")
    brand: Names | None = Field(None, description="Column with the brand.")
    category: Names | None = Field(
        None,
        description="Column with the category: a text, a path such as `a > b`, or a list. Several columns are "
        "the levels of one path.",
    )
    description: Names | None = Field(None, description="Column with the description.")


class UserColumns(Frozen):
    """Columns of the users table by role."""

    user: Names | None = Field(None, description="Column with the user id.")


class QueryColumns(Frozen):
    """Columns of the queries table by role."""

    query_id: Names | None = Field(None, description="Column with the id of the search.")
    query: Names | None = Field(None, description="Column with the text of the search.")
    user: Names | None = Field(None, description="Column with the id of the user who saw the list.")
    time: Names | None = Field(None, description="Column with the time at which the list was shown.")
    items: Names | None = Field(
        None, description="Column with the ids of the shown items, best first: a list, in text files as JSON."
    )


class TableConfig(Frozen):
    """The files of one table and how to read them. Ingest detects every field that is None, file by file."""

    name: Stem = Field(description="Beginning of the file names of this table. `*` stands for any characters.")
    delimiter: Annotated[str, AfterValidator(_parts_fields)] | None = Field(
        None, description="Character between the fields of a text file. Left out: detected."
    )
    quoted: bool | Literal["backslash"] | None = Field(
        None,
        description="Whether fields of text files may stand in double quotes. `backslash`: a quote within a field is "
        '`\\"` instead of `""`. Left out: detected.',
    )
    header: tuple[Name, ...] = Field((), description="Column names of text files that have no header line.")
    hive: bool = Field(False, description="Read folder names such as `day=2026-01-02` as columns.")
    lines: str | None = Field(None, description="How one JSON line becomes rows. Left out: each line is one row.")

    @field_validator("lines")
    @classmethod
    def _step_is_known(cls, name: str | None) -> str | None:
        if name is not None and name not in LINE_STEPS:
            raise ValueError(f"{name!r} is no value of lines. Choose one of {', '.join(LINE_STEPS) or 'none'}.")
        return name


class EventsTable(TableConfig):
    """The events table: one row per event of a user."""

    name: Stem = "events"
    columns: EventColumns = EventColumns()
    without_item: Literal["rejected", "ignored"] = Field(
        "rejected",
        description="What happens to engagements without an item id. `rejected` rows count towards "
        "`ingest.max_reject_share`.",
    )
    search_by: Literal["text_or_id", "id", "known_id"] = Field(
        "text_or_id",
        description="What makes an event a search; all other events are recommendations. `text_or_id`: a query "
        "text or a query_id. `id`: a query_id. `known_id`: a query text, or the query_id of a known "
        "search.",
    )
    time_unit: Literal["auto", "s", "ms", "us", "ns", "iso"] = Field(
        "auto",
        description="Unit of the time column: s, ms, us or ns since 1970, or ISO 8601. `auto` detects the unit "
        "for each file.",
    )
    time_format: TimeFormat | None = Field(
        None,
        description="How times are written that are neither numbers nor ISO 8601, such as `%d.%m.%Y %H:%M` for "
        "15.08.2026 10:00.",
    )
    time_zone: Zone = Field("UTC", description="Time zone of written times that name none.")


class ItemsTable(TableConfig):
    """The items table: texts of the items."""

    name: Stem = "items"
    columns: ItemColumns = ItemColumns()


class UsersTable(TableConfig):
    """The users table, which is optional: all known users."""

    name: Stem = "users"
    columns: UserColumns = UserColumns()


class QueriesTable(TableConfig):
    """The queries table, which is optional: the text of each search and the items that it showed."""

    name: Stem = "queries"
    columns: QueryColumns = QueryColumns()
    without_text: Literal["unknown", "recommendation"] = Field(
        "unknown",
        description="What a row without a text is. `unknown`: a search whose text is not known, so its engagements are "
        "left out. `recommendation`: a list that was shown without a search.",
    )


class SplitConfig(Frozen):
    """How events are split into train, valid and test."""

    by: Literal["auto", "days", "leave_one_out", "time_share"] = Field(
        "auto", description="How events are split. `auto`: by days if at least 14 days have events, else leave_one_out."
    )
    days: int = Field(
        1,
        ge=1,
        description="For `days`: number of last days with events that are test. The same number of days before "
        "them is valid.",
    )
    zone: Zone = Field("UTC", description="For `days`: time zone in which a day begins.")
    time_share: tuple[float, float, float] = Field(
        (0.8, 0.1, 0.1),
        description="For `time_share`: shares of train, valid and test, in order of time. They sum to 1.",
    )

    @field_validator("time_share")
    @classmethod
    def _shares_of_one(cls, shares: tuple[float, float, float]) -> tuple[float, float, float]:
        if min(shares) <= 0 or not math.isclose(sum(shares), 1, abs_tol=1e-6):
            raise ValueError(f"{shares} are no shares. Give three numbers above 0 that sum to 1.")
        return shares


class LogsConfig(Frozen):
    """Config of own logs. ``layout`` names a known mapping of columns, which the other fields override."""

    tables: ClassVar[tuple[str, ...]] = ("events", "queries", "items", "users")

    layout: str | None = Field(None, description=f"Known layout of the logs: {', '.join(LAYOUTS)}.")
    events: EventsTable = EventsTable()
    queries: QueriesTable = QueriesTable()
    items: ItemsTable = ItemsTable()
    users: UsersTable = UsersTable()
    behaviors: dict[Name, Behavior] = Field(
        {},
        description="Meaning of each event type: `rec` or `src` is an engagement, `shown` an impression, `ignored` "
        "neither. An engagement with a query is a search.",
    )
    keep_users: Literal["any", "both"] = Field(
        "any", description="Which users stay. `both`: only users with a search and a recommendation."
    )
    split: SplitConfig = SplitConfig()
    category_queries: bool = Field(
        False,
        description="For logs without searches: make each engagement a search too. Its query is a category path "
        "of the item (Ai et al. 2017, in A to Z).",
    )

    @field_validator("layout")
    @classmethod
    def _is_known(cls, layout: str | None) -> str | None:
        if layout is not None and layout not in LAYOUTS:
            raise ValueError(f"{layout!r} is no layout. Choose one of {', '.join(LAYOUTS)}.")
        return layout

    @classmethod
    def start(cls, given: dict[str, Any]) -> dict[str, Any]:
        """Values of the named layout.

        Tables that share their files in the layout also share a name that the user sets.
        """
        layout, events = given.get("layout"), given.get("events")
        known = LAYOUTS.get(layout, {}) if isinstance(layout, str) else {}
        names = [known.get(table, {}).get("name") for table in ("events", "queries")]
        if names[0] and names[0] == names[1] and isinstance(events, dict) and "name" in events:
            return overlay(known, {"queries": {"name": events["name"]}})
        return known
