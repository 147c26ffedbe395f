"""The files of a table in a folder, by their names.

A file belongs to a table if its name begins with the table's name, or if it lies in a folder of that name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from gensr_model.errors import DataError

TEXT, LINES, PARQUET = "text", "JSON lines", "Parquet"
_KINDS = {".csv": TEXT, ".tsv": TEXT, ".txt": TEXT, ".inter": TEXT, ".item": TEXT, ".user": TEXT, ".json": LINES,
          ".jsonl": LINES, ".ndjson": LINES, ".parquet": PARQUET, ".pq": PARQUET}  # fmt: skip
_PACKED = (".gz", ".zst", ".zstd")
_HIVE = re.compile(r"([^=]+)=(.*)", re.S)
ENDINGS = f"{', '.join(_KINDS)}, also with .gz or .zst"


class Kind(NamedTuple):
    """A file name without endings, and how the file is read."""

    stem: str
    kind: str


def kind_of(name: str) -> Kind | None:
    """How a file with this name is read. None where its ending is not one of ``ENDINGS``."""
    lower = name.lower()
    packed = next((ending for ending in _PACKED if lower.endswith(ending)), "")
    bare = name[: len(name) - len(packed)]
    ending = next((ending for ending in _KINDS if bare.lower().endswith(ending)), None)
    return None if ending is None else Kind(bare[: len(bare) - len(ending)], _KINDS[ending])


def label(folder: Path, path: Path) -> str:
    """The name of a file in accounts and rejects: its path in the folder."""
    return path.relative_to(folder).as_posix()


def files_of(folder: Path, name: str, others: Sequence[str] = ()) -> tuple[Path, ...]:
    """The files of the table ``name``, in the order of their paths without endings.

    A table is ``name.csv``, several files ``name.2026-01-01.csv``, ``name-2.csv``, or a folder ``name`` or
    ``name.parquet`` with files of any name. In ``name`` a * stands for any characters. Files that begin with a longer
    name of ``others`` belong to that table, where the length counts up to a *. Names that begin with ``_`` or ``.`` are
    left out, such as Spark's ``_SUCCESS``. Where the folder has no such file, folders below it have the parts:
    ``2026-01-02/name.csv``.

    Raises DataError for a file that begins like the table and is not read, and for a part that occurs twice.
    """
    longer = [other for other in others if len(other.split("*")[0]) > len(name.split("*")[0])]
    parts: dict[str, Path] = {}
    for path in _entries(folder, name, others, longer):
        for file in sorted(_below(path)):
            place = label(folder, file)
            kind = kind_of(file.name)
            after = "" if "*" in name else path.name[len(name) :]
            if kind is None or not file.is_file() or (after and after[0].isalpha() and after[0].isascii()):
                raise DataError(
                    f"{folder}: {place} begins like the table {name} and is not read. Move it away, or save it as "
                    f"{name}.<part> with one of {ENDINGS}."
                )
            stem = place[: len(place) - len(file.name)] + kind.stem
            if stem in parts:
                raise DataError(
                    f"{folder}: {label(folder, parts[stem])} and {place} are the same part of the data. Keep one of "
                    "them in the folder."
                )
            parts[stem] = file
    return tuple(parts[stem] for stem in sorted(parts))


def _entries(folder: Path, name: str, tables: Sequence[str], longer: Sequence[str]) -> list[Path]:
    """The files and folders that begin with the table's name, in the folder, else in the folders below."""
    here: list[Path] = []
    below: list[Path] = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith(("_", ".")):
            continue
        if _begins(path.name, name) and not any(_begins(path.name, other) for other in longer):
            here.append(path)
        elif path.is_dir() and not any(_begins(path.name, table) for table in tables):
            below += _entries(path, name, tables, longer)
    if here and below:
        raise DataError(
            f"{folder}: {label(folder, here[0])} and {label(folder, below[0])} both begin like the table {name}. "
            "Keep its parts in one folder, or in a folder each, and move others away."
        )
    return here or below


def _begins(given: str, name: str) -> bool:
    pattern = re.escape(name.casefold()).replace(r"\*", ".*")
    return re.match(pattern, given.casefold(), re.S) is not None


def _below(path: Path) -> Iterator[Path]:
    """The file itself, or the files below a folder."""
    if not path.is_dir():
        yield path
        return
    for file in path.rglob("*"):
        hidden = any(part.startswith(("_", ".")) for part in file.relative_to(path).parts)
        if not file.is_dir() and not hidden:
            yield file


def hive_columns(path: Path, name: str) -> dict[str, str]:
    """The columns that folders such as ``day=2026-01-02`` above a file add to it, up to the table's folder."""
    parents = [parent.name for parent in path.parents]
    plain = next((n for n, parent in enumerate(parents) if not _HIVE.fullmatch(parent)), len(parents))
    table = next((n for n, parent in enumerate(parents) if _begins(parent, name)), plain)
    named = (_HIVE.fullmatch(parent) for parent in reversed(parents[:table]))
    return {match[1]: unquote(match[2]) for match in named if match}
