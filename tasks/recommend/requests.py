"""The requests of a batch: distinct users and pairs, read once, and cut into shards that every process can read."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from gensr_model.config.recommend import ALL, NONE, RecommendConfig
from gensr_model.errors import ConfigError, DataError
from gensr_model.models.user_store import USERS
from tasks.promote.model_registry import move_into_place

Kind = Literal["recommendations", "searches"]
COLUMNS: dict[Kind, tuple[str, ...]] = {"recommendations": ("user",), "searches": ("user", "query")}
_FIELDS: dict[Kind, str] = {"recommendations": "recommend.users", "searches": "recommend.queries"}


class Shard(NamedTuple):
    """Requests that are answered and written together: one row group of a file of the batch's folder."""

    kind: Kind
    number: int

    def __str__(self) -> str:
        return f"{self.kind}-{self.number:05d}"

    def read(self, folder: Path) -> pa.Table:
        """The requests, with the columns of their kind."""
        with pq.ParquetFile(folder / f"{self.kind}.parquet") as file:
            return file.read_row_group(self.number)


class Requests(NamedTuple):
    """All requests of a batch, in a folder of the state folder."""

    folder: Path
    counts: dict[Kind, int]  # distinct users, and distinct pairs
    shards: tuple[Shard, ...]


def write_requests(
    settings: RecommendConfig, bundle: Path, below: Path, key: Callable[[dict[Kind, str]], str]
) -> Requests:
    """Read the users and the pairs of a batch, and write each once into ``below/<key>``.

    Args:
        bundle: the folder of the model, which knows all users.
        key: gives the name of the folder from a digest of each kind of requests.
    Raises:
        ConfigError: there is nobody to answer.
        DataError: a file cannot be read, lacks a column or holds an empty value.
    """
    given: dict[Kind, pa.Table] = {}
    if settings.users == ALL:
        given["recommendations"] = pq.read_table(bundle / USERS, columns=["raw_id"]).rename_columns(["user"])
    elif settings.users != NONE:
        given["recommendations"] = _read("recommendations", settings.users)
    if settings.queries is not None:
        given["searches"] = _read("searches", settings.queries)
    if not given:
        raise ConfigError("recommend.users is none and recommend.queries is left out. Give at least one of them.")
    below.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=below) as aside:
        inner, digests = Path(aside) / "requests", {}
        inner.mkdir()
        for kind, rows in given.items():
            pq.write_table(rows, inner / f"{kind}.parquet", row_group_size=settings.shard_size, compression="zstd")
            digests[kind] = hashlib.sha256((inner / f"{kind}.parquet").read_bytes()).hexdigest()
        folder = below / key(digests)
        if not folder.is_dir():
            move_into_place(inner, folder)
    counts: dict[Kind, int] = {kind: len(rows) for kind, rows in given.items()}
    shards = [Shard(kind, number) for kind in given for number in range(-(-counts[kind] // settings.shard_size))]
    return Requests(folder, counts, tuple(shards))


def _read(kind: Kind, path: str) -> pa.Table:
    """The distinct rows of a file, in the order in which they first occur."""
    field, file, columns = _FIELDS[kind], Path(path).expanduser(), list(COLUMNS[kind])
    if not file.is_file():
        raise DataError(f"{field}: {file} is no file, seen from {Path.cwd()}. Give the path of a CSV or Parquet file.")
    try:
        rows = _parquet(field, file, columns) if file.suffix == ".parquet" else _csv(field, file, columns)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise DataError(
            f"{field}: {file} cannot be read: {reason}. Give a CSV in UTF-8 with a header, or a Parquet file."
        ) from error
    if not len(rows):
        raise DataError(f"{field}: {file} has no rows. Give at least one.")
    for name in columns:
        trimmed = pc.utf8_trim_whitespace(rows[name])
        empty = pc.fill_null(pc.equal(trimmed, ""), True)
        if pc.any(empty).as_py():
            place = pc.index(empty, True).as_py() + 1
            raise DataError(f"{field}: {file} has no {name} in row {place}. Give a value in every row.")
        if name == "query":
            rows = rows.set_column(rows.schema.get_field_index(name), name, trimmed)
    return rows.group_by(columns, use_threads=False).aggregate([]).combine_chunks()


def _csv(field: str, file: Path, columns: list[str]) -> pa.Table:
    with pyarrow.csv.open_csv(file) as opened:
        _require(field, file, columns, opened.schema.names)
    types = dict.fromkeys(columns, pa.string())
    convert = pyarrow.csv.ConvertOptions(column_types=types, include_columns=columns, strings_can_be_null=False)
    parse = pyarrow.csv.ParseOptions(newlines_in_values=True)
    return pyarrow.csv.read_csv(file, convert_options=convert, parse_options=parse)


def _parquet(field: str, file: Path, columns: list[str]) -> pa.Table:
    schema = pq.read_schema(file)
    _require(field, file, columns, schema.names)
    for name in columns:
        kind = schema.field(name).type
        if pa.types.is_dictionary(kind):
            kind = kind.value_type
        if not (pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            raise DataError(f"{field}: the column {name} of {file} holds {kind}. Give text or whole numbers.")
    return pq.read_table(file, columns=columns).cast(pa.schema([(name, pa.string()) for name in columns]))


def _require(field: str, file: Path, columns: list[str], given: list[str]) -> None:
    if missing := [name for name in columns if name not in given]:
        raise DataError(
            f"{field}: {file} has no column {missing[0]!r}, but {', '.join(given[:8])}. Name its columns "
            f"{' and '.join(columns)}."
        )
