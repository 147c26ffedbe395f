"""Config of own logs: which files make up each table, which column plays which role, and how events are split.

What is left out is found: a column by its usual names (``tasks/ingest/tables/roles.py``), a time unit by the whole
column, delimiter and quoting by the first block of a file.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, StringConstraints, field_validator

from gensr_model.config.base import Frozen, overlay
from gensr_model.config.layouts import LAYOUTS, LINE_STEPS

Behavior = Literal["rec", "src", "ignored"]
Stem = Annotated[str, StringConstraints(min_length=1, pattern=r"^[^/\\]*[^/\\\s][^/\\]*$")]
Name = Annotated[str, StringConstraints(min_length=1)]
# Of several columns of one role those of a text are joined, those of a category are its levels, and of all others the
# first that has a value counts. A name that ends in ? may be absent.
Names = Name | Annotated[tuple[Name, ...], Field(min_length=1)]


def _known_zone(zone: str) -> str:
    try:
        ZoneInfo(zone)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"{zone!r} is no time zone: expected a name such as UTC or Europe/Berlin") from error
    return zone


def _parts_fields(sign: str) -> str:
    if len(sign) != 1 or not sign.isascii() or sign in '"\r\n\0':
        raise ValueError(f"{sign!r} parts no fields: expected one ASCII character, no quote and no line end")
    return sign


Zone = Annotated[str, AfterValidator(_known_zone)]


class EventColumns(Frozen):
    """Columns of the events by role; JSON lines and Parquet take a path into objects, ``object.id``."""

    user: Names | None = None
    item: Names | None = None
    time: Names | None = None
    behavior: Names | None = Field(None, description="the event type; without such a column every row is an engagement")
    query: Names | None = Field(None, description="text of the search; null or empty is a recommendation")
    query_id: Names | None = Field(None, description="id of the search, whose text the table queries holds")
    session: Names | None = None
    weight: Names | None = None
    position: Names | None = None
    item_title: Names | None = Field(None, description="a title of the item, where the items table has none")


class ItemColumns(Frozen):
    """Columns of the items by role."""

    item: Names | None = None
    title: Names | None = None
    brand: Names | None = None
    category: Names | None = Field(None, description="a text, a path such as a > b, or a list; several are levels")
    description: Names | None = None


class UserColumns(Frozen):
    """Columns of the users by role."""

    user: Names | None = None


class QueryColumns(Frozen):
    """Columns of the searches by role."""

    query_id: Names | None = None
    query: Names | None = None


class TableConfig(Frozen):
    """Files of one table, whose names begin with ``name``, and how they are read; in it * stands for any letters.

    What is None is found in each file.
    """

    name: Stem
    delimiter: Annotated[str, AfterValidator(_parts_fields)] | None = Field(
        None, description="of text files; found if left out"
    )
    quoted: bool | None = Field(None, description="whether text files quote fields with double quotes")
    header: tuple[Name, ...] = Field((), description="column names of text files that have no header line")
    hive: bool = Field(False, description="whether folders such as day=2026-01-02 are columns")
    lines: str | None = Field(None, description="how one JSON line becomes rows, where it is not one row itself")

    @field_validator("lines")
    @classmethod
    def _step_is_known(cls, name: str | None) -> str | None:
        if name is not None and name not in LINE_STEPS:
            raise ValueError(f"{name!r} is no step of lines: expected one of {', '.join(LINE_STEPS) or 'none'}")
        return name


class EventsTable(TableConfig):
    """What users did: one row per event."""

    name: Stem = "events"
    columns: EventColumns = EventColumns()
    without_item: Literal["rejected", "ignored"] = Field(
        "rejected", description="what becomes of engagements that name no item"
    )
    search_by: Literal["text_or_id", "id", "known_id"] = Field(
        "text_or_id",
        description="what makes an event a search: a text or a query_id; a query_id alone; a text or the query_id of a "
        "known search. Other events are recommendations",
    )
    time_unit: Literal["auto", "s", "ms", "us", "ns", "iso"] = Field(
        "auto", description="of the time column: since 1970 in s, ms, us, ns, or ISO 8601; auto finds it per file"
    )
    time_zone: Zone = Field("UTC", description="of ISO 8601 times that name no zone")


class ItemsTable(TableConfig):
    """Texts of the items."""

    name: Stem = "items"
    columns: ItemColumns = ItemColumns()


class UsersTable(TableConfig):
    """Known users; optional."""

    name: Stem = "users"
    columns: UserColumns = UserColumns()


class QueriesTable(TableConfig):
    """Texts of searches by id, where events name the id alone; optional."""

    name: Stem = "queries"
    columns: QueryColumns = QueryColumns()


class SplitConfig(Frozen):
    """How events become train, valid and test."""

    by: Literal["auto", "days", "leave_one_out", "time_share"] = Field(
        "auto", description="auto: days if at least 14 days have events, else leave_one_out"
    )
    days: int = Field(1, ge=1, description="days: so many last days with events are test, as many before them valid")
    zone: Zone = Field("UTC", description="days: the time zone in which a day begins")
    time_share: tuple[float, float, float] = Field(
        (0.8, 0.1, 0.1), description="time_share: shares of train, valid and test, by time"
    )

    @field_validator("time_share")
    @classmethod
    def _shares_of_one(cls, shares: tuple[float, float, float]) -> tuple[float, float, float]:
        if min(shares) <= 0 or not math.isclose(sum(shares), 1, abs_tol=1e-6):
            raise ValueError(f"{shares} are no shares: expected three numbers above 0 that sum to 1")
        return shares


class LogsConfig(Frozen):
    """Own logs. ``layout`` names a mapping that is known; what else is given here wins over it."""

    tables: ClassVar[tuple[str, ...]] = ("events", "queries", "items", "users")

    layout: str | None = Field(None, description=f"a known layout: {', '.join(LAYOUTS)}" if LAYOUTS else None)
    events: EventsTable = EventsTable()
    queries: QueriesTable = QueriesTable()
    items: ItemsTable = ItemsTable()
    users: UsersTable = UsersTable()
    behaviors: dict[Name, Behavior] = Field(
        {}, description="event type -> rec or src, an engagement (with a query it is a search), or ignored"
    )
    keep_users: Literal["any", "both"] = Field(
        "any", description="both: users without a search, or without a recommendation, are left out"
    )
    split: SplitConfig = SplitConfig()
    category_queries: bool = Field(
        False,
        description="for logs without searches: makes each engagement a search too, with a query from a category path "
        "of its item (Ai et al. 2017, in A to Z)",
    )

    @field_validator("layout")
    @classmethod
    def _is_known(cls, layout: str | None) -> str | None:
        if layout is not None and layout not in LAYOUTS:
            raise ValueError(f"{layout!r} is no layout: expected one of {', '.join(LAYOUTS) or 'none'}")
        return layout

    @classmethod
    def start(cls, given: dict[str, Any]) -> dict[str, Any]:
        """The values of the layout that is named. Tables that share their files there share the name that is given."""
        layout, events = given.get("layout"), given.get("events")
        known = LAYOUTS.get(layout, {}) if isinstance(layout, str) else {}
        names = [known.get(table, {}).get("name") for table in ("events", "queries")]
        if names[0] and names[0] == names[1] and isinstance(events, dict) and "name" in events:
            return overlay(known, {"queries": {"name": events["name"]}})
        return known
