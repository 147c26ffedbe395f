"""A cache of parsed raw files: each file is parsed once, and the tables of ``raw/`` are concatenated from the parts.

A part is the result of one raw file: accepted rows, rejected lines, counts. Its key is what decides it: the file's name
and content, the code, the settings. Parts are in the order of the files' labels, never in the order of parsing, so a
folder read in steps and one read at once give the same tables.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gensr_model.config.base import digest
from gensr_model.errors import DataError
from gensr_model.runtime.files import write_json
from tasks.core import sql_runner
from tasks.core.dataset_format import Blocks
from tasks.ingest.rejects import FUTURE, REJECTED, Account, Output, cut

_NAME = re.compile(r"(?P<stem>[^.]+)(?:\.(?P<label>.+?))?\.(?P<kind>csv|jsonl?)(?:\.gz)?")
ROWS, REJECTS, RECORD = "rows.parquet", "rejects.parquet", "part.json"


class Name(NamedTuple):
    """The parts of a raw file's name: ``rec_inter.2023-06-01.csv.gz`` is part ``2023-06-01`` of ``rec_inter``."""

    stem: str
    label: str  # empty for the plain name
    kind: str  # csv, json or jsonl


def name_of(path: Path) -> Name | None:
    """The parts of a raw file's name. None for a file of another kind."""
    match = _NAME.fullmatch(path.name)
    return Name(match["stem"], match["label"] or "", match["kind"]) if match else None


def in_order(files: Iterable[tuple[Path, str]]) -> tuple[Path, ...]:
    """The files of one table by label, the one without a label first. Raises DataError for two equal labels."""
    by_label: dict[str, Path] = {}
    for path, label in sorted(files):
        if label in by_label:
            raise DataError(
                f"{path.parent}: {by_label[label].name} and {path.name} are the same part of the "
                "data. Keep one of them in the folder."
            )
        by_label[label] = path
    return tuple(by_label[label] for label in sorted(by_label))


def csv_parts(folder: Path, stem: str) -> tuple[Path, ...]:
    """The CSV files of the table ``stem``, by label. Raises DataError for other files whose name begins with ``stem``.

    A part's label follows a dot (``rec_inter.2023-06-01.csv``). A label that begins with a digit may also follow ``_
    -`` or a blank.
    """
    pattern = re.compile(rf"{re.escape(stem)}(?:\.(?P<dotted>.+?)|[_ -](?P<label>\d.*?))?\.csv(?:\.gz)?")
    parts = []
    for path in folder.iterdir():
        if match := pattern.fullmatch(path.name):
            parts.append((path, match["dotted"] or match["label"] or ""))
    require_all_read(folder, (stem,), [path for path, _ in parts], f"{stem}.csv or {stem}.2023-06-01.csv, .gz or not")
    return in_order(parts)


def require_all_read(folder: Path, stems: Iterable[str], read: Iterable[Path], expected: str) -> None:
    """Raise DataError for a file or folder whose name begins like a table's and that is not read."""
    begins, known = tuple(stem.lower() for stem in stems), set(read)
    left = [path for path in sorted(folder.iterdir()) if path.name.lower().startswith(begins) and path not in known]
    left += [path for path in sorted(known) if not path.is_file()]
    if left:
        raise DataError(
            f"{folder}: {', '.join(path.name for path in left[:5])} would not be read, though the name begins as a "
            f"table's does. Name each file like {expected}, or move what is not to be read to another folder."
        )


class Parts:
    """The parts in ``folder``. ``key`` names the code and the settings that decide them."""

    def __init__(self, folder: Path, key: str) -> None:
        self.folder, self.key = folder, key
        self._new: set[Path] = set()  # of this process, and good for it whatever day it is

    def has(self, table: str, entry: dict[str, Any]) -> bool:
        """Whether the file of an account's entry need not be parsed."""
        part = self._place(table, entry)
        return part in self._new or _usable(part)

    def put(self, folder: Path, table: str, entry: dict[str, Any]) -> None:
        """Move a folder that ``write_part`` wrote to its place."""
        part = self._place(table, entry)
        part.parent.mkdir(parents=True, exist_ok=True)
        _put(folder, part)
        self._new.add(part)

    def read(self, path: Path, table: str, schema: pa.Schema, blocks: Callable[[], Blocks], account: Account) -> Path:
        """The Parquet file of the accepted rows of ``path``, an opened file of ``account``, where they are booked.
        Parses the file if there is no such part.

        Raises what ``blocks`` raises, with the blocks before it booked.
        """
        entry = account.of(path)
        part = self._place(table, entry)
        if not self.has(table, entry):
            aside = part.with_name(f"{part.name}.tmp-{os.getpid()}")
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir(parents=True)
            counted = Counted(blocks())
            try:
                write_part(aside, entry["name"], schema, counted)
                self.put(aside, table, entry)
            except BaseException:
                account.add(path, counted.accepted, counted.rejected)
                raise
            finally:
                shutil.rmtree(aside, ignore_errors=True)
        account.add(path, pq.read_metadata(part / ROWS).num_rows, pq.read_table(part / REJECTS))
        if understood := json.loads((part / RECORD).read_text(encoding="utf-8")).get("understood"):
            entry["understood"] = understood
        return part / ROWS

    def _place(self, table: str, entry: dict[str, Any]) -> Path:
        return self.folder / digest([self.key, table, entry["name"], entry["sha256"]], length=24)


class Counted:
    """Blocks, with the number of accepted rows so far, the rejected lines so far, and the generator's return value."""

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks
        self._rejects = [REJECTED.empty_table()]
        self.accepted = 0
        self.understood: dict[str, Any] | None = None

    def __iter__(self) -> Iterator[pa.Table]:
        for accepted, rejected in self._until_end():
            self.accepted += len(accepted)
            self._rejects.append(cut(rejected).cast(REJECTED))  # uncut they could be the whole file
            yield accepted

    def _until_end(self) -> Blocks:
        self.understood = yield from cast("Generator[Any, None, dict[str, Any] | None]", self._blocks)

    @property
    def rejected(self) -> pa.Table:
        return pa.concat_tables(self._rejects)


def write_part(folder: Path, name: str, schema: pa.Schema, counted: Counted) -> None:
    """Write a part into an empty folder: the rows of ``name``, as accounts call the file, block by block."""
    output = Output(folder / ROWS, schema)
    for accepted in counted:
        if "file" in schema.names:
            accepted = accepted.append_column("file", pa.repeat(pa.scalar(name), len(accepted)))
        output.write(accepted.select(schema.names))
    output.close()
    _complete(folder, name, counted.rejected, counted.understood)


def join_parts(folder: Path, name: str, schema: pa.Schema, parts: list[Path]) -> None:
    """Write the part of a file into an empty folder, from the parts of its spans in order."""
    put_together([part / ROWS for part in parts], folder / ROWS, schema)
    _complete(folder, name, pa.concat_tables(pq.read_table(part / REJECTS) for part in parts), None)


def _complete(folder: Path, name: str, rejected: pa.Table, understood: dict[str, Any] | None) -> None:
    """Write the rejects and, last, the record of a part."""
    pq.write_table(rejected, folder / REJECTS, compression="zstd")
    # A line from the future may be valid tomorrow, so such a part is parsed again next time.
    lasting = not pc.any(pc.equal(rejected["reason"], FUTURE)).as_py()
    files = {file: (folder / file).stat().st_size for file in (ROWS, REJECTS)}
    record = {"raw_file": name, "lasting": lasting, "files": files}
    write_json(folder / RECORD, record | ({"understood": understood} if understood else {}))


def _put(aside: Path, part: Path) -> None:
    """Rename ``aside`` to ``part``, unless another process has put the same part there meanwhile."""
    while not _usable(part):
        shutil.rmtree(part, ignore_errors=True)
        try:
            aside.rename(part)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise  # else another process was between the two lines above
        else:
            return


def _usable(part: Path) -> bool:
    """Whether the part is complete and does not depend on the day of its parsing."""
    try:
        record: dict[str, Any] = json.loads((part / RECORD).read_text(encoding="utf-8"))
        sizes = record["files"].items()
        return bool(record["lasting"]) and all((part / name).stat().st_size == size for name, size in sizes)
    except (FileNotFoundError, json.JSONDecodeError, KeyError):
        return False


def put_together(parts: list[Path], table: Path, schema: pa.Schema) -> None:
    """Write the Parquet file ``table``: the rows of ``parts`` in order, with one row group in memory at a time.

    A single part is linked, not copied.
    """
    if len(parts) == 1:
        try:
            table.hardlink_to(parts[0])
        except OSError:  # another file system, or one without links
            shutil.copyfile(parts[0], table)
        return
    output = Output(table, schema)
    for part in parts:
        with pq.ParquetFile(part) as file:
            for group in range(file.num_row_groups):
                output.write(file.read_row_group(group))
    output.close()


def keep_first(con: duckdb.DuckDBPyConnection, table: str, folder: Path) -> int:
    """Drop repeated ids from ``<table>.parquet``, of items or users. Returns the number of dropped rows."""
    path = folder / f"{table}.parquet"
    sql_runner.open_parquet(con, path, file_row_number=True).create_view("written", replace=True)
    ((repeated,),) = sql_runner.run(con, f"raw/repeated_{table}").fetchall()
    if repeated:
        aside = path.with_suffix(".first.parquet")
        con.sql(sql_runner.query(f"raw/first_{table}")).write_parquet(str(aside), compression="zstd")
        aside.replace(path)
    return int(repeated)
