"""Raw files as lines and as rows of named fields, to be changed and written back."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Rows = list[dict[str, Any]]


def read_lines(path: Path) -> list[bytes]:
    """The lines of a plain or gzipped (``.gz``) file."""
    content = path.read_bytes()
    return (gzip.decompress(content) if path.suffix == ".gz" else content).splitlines()


def write_lines(path: Path, lines: list[bytes]) -> None:
    """The opposite of ``read_lines``."""
    text = b"".join(line + b"\n" for line in lines)
    path.write_bytes(gzip.compress(text, 1) if path.suffix == ".gz" else text)


def read_rows(path: Path) -> Rows:
    """The rows of a CSV file, or of a file with a JSON object per line."""
    lines = read_lines(path)
    if path.suffix == ".gz":
        return [json.loads(line) for line in lines]
    return list(csv.DictReader(line.decode() for line in lines))


def write_rows(path: Path, rows: Rows) -> None:
    """The opposite of ``read_rows``."""
    if path.suffix == ".gz":
        write_lines(path, [json.dumps(row).encode() for row in rows])
        return
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    path.write_text(text.getvalue(), encoding="utf-8")


# --- damage: each makes a function of the source folder -------------------------------------------------------

Damage = Callable[[Path], Any]


def empty(name: str) -> Damage:
    return lambda source: (source / name).write_bytes(b"")


def missing(name: str) -> Damage:
    return lambda source: (source / name).unlink()


def truncated(name: str) -> Damage:
    """The gzipped file ends after two thirds; a plain file is gzipped first."""

    def damage(source: Path) -> None:
        path = source / name
        packed = path.read_bytes() if path.suffix == ".gz" else gzip.compress(path.read_bytes())
        path.unlink()
        (source / f"{name.removesuffix('.gz')}.gz").write_bytes(packed[: len(packed) * 2 // 3])

    return damage


def malformed(name: str) -> Damage:
    """Every twentieth line is cut short."""

    def damage(source: Path) -> None:
        lines = read_lines(source / name)
        write_lines(source / name, [line[:9] if n % 20 == 5 else line for n, line in enumerate(lines)])

    return damage


def changed(name: str, field: str, change: Callable[[int], int]) -> Damage:
    """A number is changed in every row."""

    def damage(source: Path) -> None:
        rows = read_rows(source / name)
        write_rows(source / name, [row | {field: change(int(row[field]))} for row in rows])

    return damage


def without_column(name: str, column: str) -> Damage:
    def damage(source: Path) -> None:
        rows = read_rows(source / name)
        write_rows(source / name, [{k: v for k, v in row.items() if k != column} for row in rows])

    return damage
