"""A section of the report as data: a heading and its content, in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

from gensr_model.reporting.tables import Table

if TYPE_CHECKING:  # Matplotlib: a second
    from gensr_model.reporting.charts import Figure


class Block(NamedTuple):
    """One part of a section: text, a table, or figures side by side."""

    kind: Literal["heading", "text", "note", "table", "figures"]
    value: str | Table | Sequence[Figure]


class Section(NamedTuple):
    """A section of the report. ``name`` is its anchor, unique on the page."""

    name: str
    title: str
    blocks: list[Block]


def heading(words: str) -> Block:
    return Block("heading", words)


def text(words: str) -> Block:
    return Block("text", words)


def note(words: str) -> Block:
    return Block("note", words)


def table(made: Table) -> Block:
    return Block("table", made)


def figures(*made: Figure) -> Block:
    return Block("figures", made)
