"""The result of the check as a section of the report and as the screen of ``gensr check``."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from datetime import UTC, datetime
from textwrap import shorten
from typing import Any

from gensr_model.config.base import TASKS
from gensr_model.reporting.sections import Block, Section, heading, note, table, text
from gensr_model.reporting.tables import Cell, Column, Table, count
from gensr_model.reporting.tables import text as words

_DAYS = 7  # the last ones: those of valid and test
_TYPES = 12
_SPLITS = ("train", "valid", "test")


def section(result: dict[str, Any]) -> Section | None:
    """The content of ``check.json`` as a section. None where a run has no check."""
    if not result:
        return None
    made = (_tables(result), _columns(result), _types(result), _engaged(result), _left(result), _texts(result),
            _split(result), _days(result), _rejects(result))  # fmt: skip
    blocks = [table(each) for each in made if each is not None and each.rows]
    blocks.insert(
        1, note("{read:,} lines read, {accepted:,} accepted, {rejected:,} rejected.".format(**result["read"]))
    )
    return Section("check", "What was understood of the data", [*blocks, *_warnings(result)])


def _warnings(result: dict[str, Any]) -> Iterable[Block]:
    if result["warnings"]:
        yield heading("Warnings")
        yield from (text(f"- {sentence}") for sentence in result["warnings"])


def screen(result: dict[str, Any]) -> str:
    """The check for a terminal, where each table has few lines."""
    lines: list[str] = []
    made = section(result)
    for block in made.blocks if made else ():
        if isinstance(block.value, Table):
            lines += ["", *_plain(block.value), *filter(None, [block.value.note])]
        else:
            lines += ["", str(block.value)] if block.kind == "heading" else [str(block.value)]
    return "\n".join(lines[1:])


def _plain(made: Table) -> list[str]:
    rows = [[column.title for column in made.columns], *([cell.text for cell in row] for row in made.rows)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows[0][0] = rows[0][0] or made.caption
    widths[0] = max(widths[0], len(rows[0][0]))
    return [
        "  ".join(
            cell.rjust(width) if column.numeric else cell.ljust(width)
            for cell, width, column in zip(row, widths, made.columns, strict=True)
        ).rstrip()
        for row in rows
    ]


def _made(name: str, caption: str, heads: Iterable[Column], rows: Iterable[list[Cell]], beside: str = "") -> Table:
    return Table(f"check-{name}", caption, list(heads), list(rows), beside, sortable=False)


def _word(*titles: str) -> list[Column]:
    return [Column(title, False) for title in titles]


def _tables(result: dict[str, Any]) -> Table:
    rows = [
        [words(each["table"]), count(each["rows"]), count(each["files"]), words(each["kinds"])]
        for each in result["tables"]
    ]
    heads = [*_word("Table"), Column("Rows"), Column("Files"), *_word("Written as")]
    return _made("tables", "Tables", heads, rows)


def _columns(result: dict[str, Any]) -> Table:
    rows = [
        [words(each["table"]), words(each["role"]), words(" + ".join(each["columns"])), words(each["why"])]
        for each in result["columns"]
    ]
    fixed = {
        name: [c for c in columns if c not in ("file", "line")] for name, columns in result["fixed_columns"].items()
    }
    rows += [
        [words(name), words(", ".join(columns)), words(""), words("the format")] for name, columns in fixed.items()
    ]
    return _made("columns", "Columns", _word("Table", "Role", "Column", "Why"), rows, _unused(result))


def _unused(result: dict[str, Any]) -> str:
    parts = [f"{name}: {', '.join(columns)}" for name, columns in result["unused"].items() if columns]
    return shorten(f"Columns that are not used: {'; '.join(parts)}.", 400, placeholder=" …") if parts else ""


def _types(result: dict[str, Any]) -> Table:
    means = {
        "rec": "an engagement; with a query a search",
        "src": "an engagement of a search",
        "shown": "shown, not engaged",
        "ignored": "ignored",
    }
    types = sorted(result["event_types"].items(), key=lambda each: -each[1]["rows"])
    rows = [[words(name), count(each["rows"]), words(means[each["behavior"]])] for name, each in types[:_TYPES]]
    more = f"And {len(types) - _TYPES} types more." if len(types) > _TYPES else ""
    return _made("types", "Event types", [*_word("Event type"), Column("Rows"), *_word("Means")], rows, more)


def _engaged(result: dict[str, Any]) -> Table | None:
    events = result.get("events")
    if events is None:
        return None
    total = events["recommendation"] + events["search"]
    samples = result["counts"].get("samples", {}).values()
    made = 0 if events["search"] else sum(split["search"]["samples"] for split in samples)
    shown = [
        ("recommendation events", f"{events['recommendation']:,}"),
        ("search events", f"{events['search']:,}" + (f"; {made:,} are made of item texts" if made else "")),
        ("users", f"{events['users']:,}, {events['users_with_both']:,} with both behaviors"),
        ("items", f"{events['items']:,}"),
        ("time", f"{_time(events['first_ms'])} to {_time(events['last_ms'])} UTC"),
        ("unit of time", "; ".join(map(_unit, result["time_units"]))),
        ("at one instant", f"{events['tied']:,} events ({_share(events['tied'], total)}) of one user and behavior"),
    ]
    return _made("events", "Events read", _word("Events read", ""), [[words(a), words(b)] for a, b in shown if b])


def _unit(each: dict[str, Any]) -> str:
    zone = each.get("read_in")
    return f"{each['unit']} ({each['why']})" + (f", no zone: read as {zone} (logs.events.time_zone)" if zone else "")


def _left(result: dict[str, Any]) -> Table | None:
    steps = result["counts"].get("filter", {}).get("steps", [])
    named = ("users", "items", "interactions")
    rows = [[words(step["step"]), *(count(step[name]) for name in named)] for step in steps]
    if len(rows) > 4:  # the screen is one: what it began with, and what is left
        rows = [*rows[:2], rows[-1]]
    heads = [*_word("What is left"), *(Column(name.capitalize()) for name in named)]
    return _made("left", "What the filter leaves", heads, rows)


def _texts(result: dict[str, Any]) -> Table | None:
    items, queries = result.get("text"), result.get("queries")
    if items is None or queries is None:
        return None
    lacks = [f"{items[name]:,} {name.removeprefix('without_')}" for name in items if name != "items" and items[name]]
    shown = [("items", f"{items['items']:,}; without {', '.join(lacks) or 'a text: none'}")]
    if queries["distinct"]:
        scripts = ", ".join(f"{name} {number:,}" for name, number in queries["scripts"].items())
        shown += [
            ("queries", f"{queries['distinct']:,}, {queries['words_mean']:.1f} words, at most {queries['words_max']}"),
            ("scripts", scripts),
        ]
    return _made("texts", "Texts", _word("Texts", ""), [[words(a), words(b)] for a, b in shown])


def _split(result: dict[str, Any]) -> Table | None:
    samples = result["counts"].get("samples")
    if samples is None:
        return None
    rows = []
    for split in _SPLITS:
        days = [day["day"] for day in result.get("days", []) if day[split]]
        span = f"{days[0]} to {days[-1]}, {len(days):,} days" if len(days) > 1 else "".join(days) or "none"
        rows.append([words(split), *(count(samples[split][task]["samples"]) for task in TASKS), words(span)])
    heads = [*_word("Samples"), *(Column(task.capitalize()) for task in TASKS), *_word("Days")]
    how = result["split"]
    why = f"Split: {how['rule']}{'; ' + how['why'] if 'why' in how else ''}."
    return _made("split", "Samples of each split", heads, rows, why)


def _days(result: dict[str, Any]) -> Table:
    days = result["days"][-_DAYS:] if result.get("days_decide") else []
    rows = [[words(day["day"]), *(count(day[split]) for split in _SPLITS)] for day in days]
    heads = [*_word("The last days"), *(Column(split.capitalize()) for split in _SPLITS)]
    return _made("days", "Samples of the last days", heads, rows)


def _rejects(result: dict[str, Any]) -> Table:
    rows = [
        [words(each["reason"]), count(each["rows"]), words(f"{each['file']}, line {each['line']:,}")]
        for each in itertools.islice(result["rejects"], 8)
    ]
    heads = [*_word("Rejected because"), Column("Rows"), *_word("The first")]
    return _made("rejects", "Rejected lines", heads, rows)


def _time(ms: int | None) -> str:
    return "–" if ms is None else f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M}"


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "–"
