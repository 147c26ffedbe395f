"""Cells of results tables: one small file for one finished training or reference, which ``gensr results build`` reads.

Below a root, ``docs/results/cells`` in this repository, a data set has a folder::

    <dataset>/samples.parquet                                 every test sample: sample_id, task, user_idx
    <dataset>/<study>/<system>[@<setting>]-seed<n>.parquet    greater, ties, candidates: a row for each row of samples

The sample ids are stored once per data set, so a cell takes some ten kilobytes. Null is a sample of a task that the
system does not rank. The metadata of a cell holds its `CellRecord` and the digest of the samples.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import Field, ValidationError

from gensr_model.config.base import Frozen
from gensr_model.errors import DataError
from gensr_model.evaluation.metrics import RANKS_SCHEMA
from gensr_model.runtime.files import write_table

SAMPLES = "samples.parquet"
SAMPLES_SCHEMA = pa.schema([("sample_id", pa.string()), ("task", pa.string()), ("user_idx", pa.int32())])
_COUNTS = ("greater", "ties", "candidates")
_NAME = r"^[A-Za-z0-9_.:+-]+$"


class CellRecord(Frozen):
    """What a cell ranks, and how its model was made."""

    dataset: str = Field(pattern=_NAME)
    study: str = Field(pattern=_NAME)  # rerank, full-ranking, ablation, ...
    system: str = Field(pattern=_NAME)
    setting: str = Field("", pattern=r"^[A-Za-z0-9_.:+-]*$")  # where a system has several, such as a preset
    seed: int = Field(ge=0)
    title: str = Field(min_length=1)  # the system's name in tables
    dataset_digest: str
    config: dict[str, Any]  # without paths of a machine
    chosen: dict[str, Any] = Field(default_factory=dict)  # hyperparameters by tuning
    costs: dict[str, float] = Field(default_factory=dict)  # seconds_per_epoch, peak_memory_mb, epochs, parameters, ...
    commit: str  # of the code that trained it
    trained_at: str  # ISO date and time
    converted_from: str = ""  # the older file with these ranks; empty where a command made the cell

    @property
    def name(self) -> str:
        """The system and its setting, as files and templates write it."""
        return f"{self.system}@{self.setting}" if self.setting else self.system

    def path(self, root: Path) -> Path:
        """The cell's path below the root of all cells."""
        return root / self.dataset / self.study / f"{self.name}-seed{self.seed}.parquet"


class Cell(NamedTuple):
    """A loaded cell. ``ranks`` have `RANKS_SCHEMA`, in the order of the data set's samples."""

    path: Path
    record: CellRecord
    ranks: pa.Table


def write_samples(folder: Path, samples: pa.Table) -> Path:
    """Write a data set's test samples of both tasks, unless the same ones exist. Returns the file.

    Args:
        folder: ``<root>/<dataset>``.
        samples: `SAMPLES_SCHEMA`, in any order; the prepared dataset's ``samples_test`` has these columns.

    Raises DataError where the folder has other samples: cells on them would be lost.
    """
    path = folder / SAMPLES
    wanted = samples.select(SAMPLES_SCHEMA.names).cast(SAMPLES_SCHEMA)
    wanted = wanted.replace_schema_metadata(None).sort_by([("task", "ascending"), ("sample_id", "ascending")])
    if pc.count_distinct(wanted["sample_id"]).as_py() != len(wanted):
        raise DataError(f"{path}: a sample_id occurs twice. Give one row per test sample.")
    if path.is_file():
        if not read_samples(folder).equals(wanted):
            raise DataError(f"{path} has other test samples. Choose another data set name, or delete its folder.")
        return path
    folder.mkdir(parents=True, exist_ok=True)
    write_table(path, wanted)
    return path


def read_samples(folder: Path) -> pa.Table:
    """`SAMPLES_SCHEMA`, sorted by task and sample_id. Raises DataError for a missing file or another schema."""
    path = folder / SAMPLES
    if not path.is_file():
        raise DataError(f"{path}: no such file. Write it with gensr_model.evaluation.cells.write_samples.")
    return _read(path, SAMPLES_SCHEMA)


def write_cell(path: Path, ranks: pa.Table, record: CellRecord) -> None:
    """Write one cell to a temporary name and rename it. The data set's samples must exist.

    Args:
        path: ``record.path(root)``.
        ranks: `RANKS_SCHEMA`, in any order.

    Raises DataError where the path is another, where ``config`` names a folder of this machine, or where the ranks do
    not cover every sample of their tasks.
    """
    root = path.parents[2] if len(path.parents) > 2 else path
    if record.path(root) != path:
        raise DataError(f"{path} is not the path of this record. Write the cell to {record.path(root)}.")
    if private_path := next(_absolute_paths(record.config, "config"), ""):
        raise DataError(f"{path}: {private_path} is a path of this machine. Leave its folder out.")
    samples = read_samples(path.parents[1])
    if ranks.schema.names != RANKS_SCHEMA.names:
        raise DataError(f"{path}: the ranks have the columns {ranks.schema.names}. Give {RANKS_SCHEMA.names}.")
    tasks = ranks["task"].unique()
    expected = samples.filter(pc.is_in(samples["task"], value_set=tasks))
    order = pc.index_in(samples["sample_id"], value_set=ranks["sample_id"].combine_chunks())
    matched_rows = len(order) - order.null_count
    if not len(ranks) == matched_rows == len(expected):
        raise DataError(
            f"{path}: {matched_rows} of {len(ranks)} ranks are of the data set's samples. Give one "
            f"rank for each of its {len(expected)} test samples of {' and '.join(tasks.to_pylist())}."
        )
    table = pa.table({name: ranks[name].take(order).cast(pa.int32()) for name in _COUNTS})
    metadata = {"record": record.model_dump_json(), "samples": _digest(samples)}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_table(path, table.replace_schema_metadata(metadata))


def read_cell(path: Path, samples: pa.Table | None = None) -> Cell:
    """Read one cell. ``samples`` are from `read_samples`, which runs where they are left out.

    Raises DataError, naming the file, where it is no cell, or where its samples differ from those of its data set.
    """
    samples = read_samples(path.parents[1]) if samples is None else samples
    counts = _read(path, pa.schema([(name, pa.int32()) for name in _COUNTS]))
    metadata = {name.decode(): value.decode() for name, value in (pq.read_schema(path).metadata or {}).items()}
    if "record" not in metadata:
        raise DataError(f"{path} is no cell of a results table: it has no record. Train it with benchmarks.tables.")
    try:
        record = CellRecord.model_validate_json(metadata["record"])
    except ValidationError as error:
        wrong = error.errors()[0]
        field = ".".join(map(str, wrong["loc"]))
        raise DataError(f"{path}: its record has a bad {field}: {wrong['msg']}. Train the cell again.") from error
    if record.path(path.parents[2]) != path:
        raise DataError(f"{path}: its record belongs to {record.path(path.parents[2])}. Rename the file.")
    if len(counts) != len(samples) or metadata.get("samples") != _digest(samples):
        raise DataError(f"{path}: its samples differ from those in {path.parents[1] / SAMPLES}. Train the cell again.")
    columns = [samples["sample_id"], samples["task"], *(counts[name] for name in _COUNTS)]
    ranks = pa.table(columns, names=RANKS_SCHEMA.names).cast(RANKS_SCHEMA)
    return Cell(path, record, ranks.filter(pc.is_valid(ranks["ties"])).combine_chunks())


def is_cell(path: Path) -> bool:
    """Whether the columns of a Parquet file are those of a cell."""
    return tuple(pq.read_schema(path).names) == _COUNTS


def read_cells(root: Path) -> list[Cell]:
    """Every cell below the root, by path. Raises DataError as `read_cell` does."""
    cells = []
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        samples = read_samples(folder)
        cells += [read_cell(path, samples) for path in sorted(folder.glob("*/*.parquet"))]
    return cells


def _read(path: Path, schema: pa.Schema) -> pa.Table:
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} is no readable Parquet file: {error}. Write it again.") from error
    if not table.schema.remove_metadata().equals(schema):
        expected = ", ".join(f"{field.name}: {field.type}" for field in schema)
        raise DataError(f"{path} has the columns {table.schema.names}, not {expected}. Write it again.")
    return table.replace_schema_metadata(None)


def _digest(samples: pa.Table) -> str:
    return hashlib.sha256("\n".join(samples["sample_id"].to_pylist()).encode()).hexdigest()[:16]


def _absolute_paths(value: Any, name: str) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _absolute_paths(inner, f"{name}.{key}")
    elif isinstance(value, list):
        for inner in value:
            yield from _absolute_paths(inner, name)
    elif isinstance(value, str) and value.startswith(("/", "~")):
        yield name
