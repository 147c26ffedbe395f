"""Expectations that several tables share."""

from __future__ import annotations

from great_expectations import expectations as gxe
from great_expectations.expectations.expectation import Expectation


def non_empty(rule: str) -> Expectation:
    """The table has a row."""
    return gxe.ExpectTableRowCountToBeBetween(min_value=1, notes=rule)


def identified(column: str) -> list[Expectation]:
    """A raw id: never null, never the empty string."""
    return [
        gxe.ExpectColumnValuesToNotBeNull(column=column, notes=f"every row names its {column}"),
        gxe.ExpectColumnValueLengthsToBeBetween(column=column, min_value=1, notes=f"the id of a {column} is not empty"),
    ]


def within_time(column: str, earliest_ms: int, latest_ms: int) -> list[Expectation]:
    """A time in ms since 1970 UTC that lies between two others; seconds taken for ms fall out at the low end."""
    return [
        gxe.ExpectColumnValuesToNotBeNull(column=column, notes="every row has a time"),
        gxe.ExpectColumnValuesToBeBetween(
            column=column,
            min_value=earliest_ms,
            max_value=latest_ms,
            notes="times are milliseconds UTC, after ingest.earliest and not in the future",
        ),
    ]


def index(column: str) -> list[Expectation]:
    """An index column of the prepared dataset: a number from 0, never null."""
    return [
        gxe.ExpectColumnValuesToNotBeNull(column=column, notes=f"every row has its {column}"),
        gxe.ExpectColumnValuesToBeBetween(column=column, min_value=0, notes="indices start at 0"),
    ]


def key(column: str) -> list[Expectation]:
    """A column whose values name one row each."""
    return [
        gxe.ExpectColumnValuesToNotBeNull(column=column, notes=f"every row has its {column}"),
        gxe.ExpectColumnValuesToBeUnique(column=column, notes=f"no {column} stands twice"),
    ]
