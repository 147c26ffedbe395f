"""The account of an ingest: rows read, accepted and rejected per file, and the limit of bad rows."""

from __future__ import annotations

import datetime as dt
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gensr_model.errors import DataError
from tasks.ingest.raw_files import file_digest

SCHEMA = pa.schema([("file", pa.string()), ("line", pa.int64()), ("reason", pa.string()), ("excerpt", pa.string())])
REJECTED = pa.schema([("line", pa.int64()), ("reason", pa.string()), ("excerpt", pa.string())])
EXCERPT = 200  # characters of a rejected line that are stored
SHOWN = 10
AHEAD_MS = 2 * 86_400_000  # tolerance for clocks and time zones: a later time is in the future
FUTURE = "timestamp in the future"  # the only reason that a later day removes
NOT_UTF8, AS_UTF8 = "not UTF-8", "Save the file as UTF-8: iconv -f ITS-ENCODING -t UTF-8 FILE > NEW."
WRONG_UNIT = "timestamp in the wrong unit"  # beginning of the reasons that sql/ gives for it


def wrong_width(fields: int, width: int) -> str:
    """The reason for a row that has more or fewer fields than the header."""
    return f"{fields} field{'' if fields == 1 else 's'} where the header has {width}"


def cut(rejects: pa.Table) -> pa.Table:
    """The table with only the first characters of each ``excerpt``: rejected lines can be very long."""
    excerpt = pa.compute.utf8_slice_codeunits(rejects["excerpt"].cast(pa.string()), 0, EXCERPT)
    return rejects.set_column(rejects.schema.get_field_index("excerpt"), "excerpt", excerpt)


class Account:
    """Collects rejected rows and counts. ``check`` stops a run with too many bad rows."""

    def __init__(
        self,
        max_share: float,
        label: Callable[[Path], str] = lambda path: path.name,
        hints: Mapping[str, str] | None = None,
    ) -> None:
        self.max_share, self.label = max_share, label
        self.hints = {NOT_UTF8: AS_UTF8, **(hints or {})}
        self.files: dict[str, dict[str, Any]] = {}
        self._names: dict[Path, str] = {}  # labels of the accounts last opened
        self._rejects: list[pa.Table] = []

    def open(self, paths: Iterable[Path], table: str = "") -> None:
        """Start the accounts of a table's files, with their sizes and digests.

        A file with rows of two tables has two accounts.
        """
        self._names = {}
        for path in paths:
            size, sha256 = path.stat().st_size, file_digest(path)
            counts = {"read": 0, "accepted": 0, "rejected": 0}
            name = self.label(path)
            if self.files.get(name, counts)["read"]:
                name = f"{name} ({table})"
            self._names[path] = name
            self.files[name] = {"name": name, "bytes": size, "sha256": sha256, **counts}

    def paths(self) -> list[Path]:
        """The files that were opened last, in order."""
        return list(self._names)

    def of(self, path: Path) -> dict[str, Any]:
        """The counts of an opened file."""
        return self.files[self._names[path]]

    def mark_empty(self, path: Path) -> None:
        """Mark a part without rows, which tells nothing about columns and units either."""
        entry = self.of(path)
        entry["empty"] = True
        entry.pop("understood", None)

    def add(self, path: Path, accepted: int, rejects: pa.Table) -> None:
        """Book a block: the number of ``accepted`` rows, and a table with columns line, reason and excerpt."""
        entry = self.of(path)
        entry["read"] += accepted + len(rejects)
        entry["accepted"] += accepted
        entry["rejected"] += len(rejects)
        if len(rejects):
            rejects = rejects.sort_by("line")
            excerpt = cut(rejects)["excerpt"]
            names = pa.array([entry["name"]] * len(rejects), pa.string())
            columns = [names, rejects["line"], rejects["reason"], excerpt]
            self._rejects.append(pa.table(columns, schema=SCHEMA))

    def check(self, path: Path) -> None:
        """Raise DataError if the share of bad rows is above the limit. It shows rows of the commonest reason."""
        entry = self.of(path)
        read, rejected = entry["read"], entry["rejected"]
        if read == 0:
            raise DataError(f"{path}: the file holds a header or blank lines, but no row of data. Export it again.")
        if rejected <= self.max_share * read and entry["accepted"]:
            return
        rows = [row for row in self.rejects().to_pylist() if row["file"] == entry["name"]]
        (reason, most), *others = Counter(row["reason"] for row in rows).most_common(4)
        first = [row for row in rows if row["reason"] == reason][:SHOWN]
        shown = "\n".join(f"  line {r['line']}: {r['reason']}: {r['excerpt'][:120]}" for r in first)
        hint = f"The most frequent reason ({most:,} row{'s' if most > 1 else ''}): {reason}."
        if reason.startswith(WRONG_UNIT) and most > read / 2:
            hint = f"Most timestamps of the file are off by the same unit ({most:,} of {read:,} rows): {reason}."
        if others:
            hint += f" Other reasons: {', '.join(f'{why} ({number:,})' for why, number in others)}."
        limit = f"; at most {self.max_share:.1%} may be (ingest.max_reject_share)" if entry["accepted"] else ""
        raise DataError(
            f"{path}: {rejected:,} of {read:,} rows ({rejected / read:.1%}) cannot be used{limit}. {hint} Its first "
            f"rows:\n{shown}\n{self._todo(reason)}"
        )

    def _todo(self, reason: str) -> str:
        known = [hint for start, hint in self.hints.items() if reason.startswith(start)]
        return known[0] if known else "Repair the file, or raise ingest.max_reject_share if these rows may be left out."

    def rejects(self) -> pa.Table:
        """All rejected rows so far, in the order of reading."""
        return pa.concat_tables([SCHEMA.empty_table(), *self._rejects])

    def summary(self) -> dict[str, Any]:
        """The account for the manifest: totals, and one entry per file."""
        entries = list(self.files.values())
        return {key: sum(e[key] for e in entries) for key in ("read", "accepted", "rejected")} | {"files": entries}


class Output:
    """A Parquet file written block by block."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._writer = pq.ParquetWriter(path, schema, compression="zstd")
        self.rows = 0

    def write(self, table: pa.Table) -> None:
        # One chunk: Parquet's pages depend on the chunks, which differ between a parser and a file.
        self._writer.write_table(table.cast(self._writer.schema).combine_chunks())
        self.rows += len(table)

    def close(self) -> None:
        self._writer.close()


def time_bounds(earliest_day: str) -> dict[str, int]:
    """Query parameters ``earliest`` and ``latest``: the bounds of credible timestamps in milliseconds."""
    day = dt.datetime.fromisoformat(earliest_day).replace(tzinfo=dt.UTC)
    return {"earliest": int(day.timestamp() * 1000), "latest": int(time.time() * 1000) + AHEAD_MS}
