"""Cells of a results table: what is written is read again, and what does not fit is named."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gensr_model.errors import DataError
from gensr_model.evaluation.cells import CellRecord, read_cell, read_cells, write_cell, write_samples
from gensr_model.evaluation.metrics import RANKS_SCHEMA
from gensr_model.evaluation.saved_ranks import read_costs, read_saved_ranks, saved_labels

TASKS = ["search", "recommendation", "search"]
SAMPLES = pa.table({"sample_id": ["c", "a", "b"], "task": TASKS, "user_idx": [5, 4, 4]})
RANKS = pa.table([["b", "a", "c"], ["search", "recommendation", "search"], [7, 0, 2], [0, 3, 1], [100] * 3],
                 schema=RANKS_SCHEMA)  # fmt: skip
RECORD = CellRecord(dataset="toy", study="rerank", system="gensr", setting="best", seed=1, title="GenSR",
                    dataset_digest="d", config={"source": {"path": "toy"}}, costs={"epochs": 3.0}, commit="c",
                    trained_at="2026-11-30T12:00:00")  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_samples(tmp_path / "toy", SAMPLES)
    return tmp_path


def test_a_cell_comes_back_with_its_record_and_in_the_order_of_the_samples(root: Path) -> None:
    path = RECORD.path(root)
    assert path == root / "toy" / "rerank" / "gensr@best-seed1.parquet"
    write_cell(path, RANKS, RECORD)
    search = RANKS.filter([True, False, True])
    write_cell(root / "toy" / "rerank" / "qem-seed0.parquet", search,
               RECORD.model_copy(update={"system": "qem", "setting": "", "seed": 0}))  # fmt: skip
    ours, qem = read_cells(root)
    assert ours.record == RECORD
    assert ours.ranks.to_pylist() == RANKS.sort_by([("task", "ascending"), ("sample_id", "ascending")]).to_pylist()
    assert qem.ranks.to_pylist() == search.to_pylist()
    assert read_saved_ranks(path)["gensr"].to_pylist() == ours.ranks.to_pylist()
    assert (saved_labels(path), read_costs(path)) == (["gensr"], {"gensr": {"epochs": 3.0}})
    before = path.read_bytes()
    write_cell(path, RANKS.take([2, 0, 1]), RECORD)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("ranks", "change", "message"),
    [
        (RANKS.slice(1), {}, "2 of 2 ranks are of the data set's samples. Give one rank for each of its 3"),
        (RANKS.set_column(0, "sample_id", [["b", "a", "z"]]), {}, "2 of 3 ranks"),
        (RANKS.select(["sample_id", "task"]), {}, "Give .*candidates"),
        (RANKS, {"seed": 2}, "Write the cell to .*gensr@best-seed2"),
        (RANKS, {"config": {"source": {"path": "/data/toy"}}}, "config.source.path is a path of this machine"),
    ],
)
def test_what_does_not_fit_is_not_written(root: Path, ranks: pa.Table, change: dict[str, object], message: str) -> None:
    path = RECORD.path(root)
    with pytest.raises(DataError, match=message):
        write_cell(path, ranks, RECORD.model_copy(update=change))
    assert not path.exists()


def test_other_samples_are_refused_and_the_same_ones_are_not(root: Path) -> None:
    write_samples(root / "toy", SAMPLES.take([2, 0, 1]))
    with pytest.raises(DataError, match=r"toy/samples.parquet has other test samples"):
        write_samples(root / "toy", SAMPLES.slice(1))
    with pytest.raises(DataError, match="occurs twice"):
        write_samples(root / "twice", pa.concat_tables([SAMPLES, SAMPLES]))
    with pytest.raises(DataError, match=r"none/samples.parquet: no such file"):
        write_cell(root / "none" / "rerank" / "gensr@best-seed1.parquet", RANKS,
                   RECORD.model_copy(update={"dataset": "none"}))  # fmt: skip


def test_a_damaged_file_is_named(root: Path) -> None:
    path = RECORD.path(root)
    write_cell(path, RANKS, RECORD)
    moved = path.rename(path.with_name("gensr@best-seed3.parquet"))
    with pytest.raises(DataError, match=r"seed3.parquet: its record belongs to .*seed1"):
        read_cell(moved)
    pq.write_table(pq.read_table(moved).replace_schema_metadata(None), moved)
    with pytest.raises(DataError, match=r"seed3.parquet is no cell"):
        read_cell(moved)
    pq.write_table(pa.table({"greater": [1]}), moved)
    with pytest.raises(DataError, match=r"seed3.parquet has the columns \['greater'\], not greater: int32"):
        read_cell(moved)
    moved.write_text("not Parquet", encoding="utf-8")
    with pytest.raises(DataError, match="no readable Parquet file"):
        read_cell(moved)
    moved.unlink()
    write_cell(path, RANKS, RECORD)
    (root / "toy" / "samples.parquet").unlink()
    write_samples(root / "toy", SAMPLES.set_column(0, "sample_id", [["c", "a", "x"]]))
    with pytest.raises(DataError, match="its samples differ"):
        read_cells(root)
