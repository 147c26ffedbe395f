"""Ranks of many models on the same test samples in one small table. A cell (``cells``) holds one model's ranks."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gensr_model.evaluation.cells import is_cell, read_cell
from gensr_model.evaluation.metrics import RANKS_SCHEMA

SAMPLE = ("sample_id", "task", "candidates")


def widen(ranks: dict[str, pa.Table]) -> pa.Table:
    """One row per test sample, two columns per model, null where a model does not rank the task."""
    every = pa.concat_tables([table.select(SAMPLE) for table in ranks.values()])
    wide = every.group_by(list(SAMPLE), use_threads=False).aggregate([])
    wide = wide.sort_by([("task", "ascending"), ("sample_id", "ascending")])
    if pc.count_distinct(wide["sample_id"]).as_py() != len(wide):
        raise ValueError(
            "a sample has lists of two lengths, so these ranks are not of one evaluation. Give ranks of "
            "one prepared dataset."
        )
    longest = pc.max(wide["candidates"]).as_py() or 0
    width = pa.int16() if longest < 2**15 else pa.int32()
    for name, table in ranks.items():
        place = pc.index_in(wide["sample_id"], value_set=table["sample_id"].combine_chunks())
        for column in ("greater", "ties"):
            wide = wide.append_column(f"{name}/{column}", table[column].take(place).cast(width))
    return wide


def saved_labels(path: Path) -> list[str]:
    """The labels of the models in a saved file: the name, or one label per training.

    Labels of several trainings are ``gensr/seed1`` or ``gensr/training1``.
    """
    if is_cell(path):
        return [read_cell(path).record.system]
    return [name.removesuffix("/ties") for name in pq.read_schema(path).names if name.endswith("/ties")]


def read_saved_ranks(path: Path) -> dict[str, pa.Table]:
    """The ranks (``RANKS_SCHEMA``) of every model in a saved file, by ``saved_labels``."""
    if is_cell(path):
        cell = read_cell(path)
        return {cell.record.system: cell.ranks}
    wide = pq.read_table(path)
    ranks = {}
    for name in saved_labels(path):
        rows = wide.filter(pc.is_valid(wide[f"{name}/ties"]))
        columns = [rows["sample_id"], rows["task"], rows[f"{name}/greater"], rows[f"{name}/ties"]]
        table = pa.table([*columns, rows["candidates"]], names=RANKS_SCHEMA.names)
        ranks[name] = table.cast(RANKS_SCHEMA)
    return ranks


def read_costs(path: Path) -> dict[str, dict[str, float]]:
    """The costs of each system in a saved comparison, as its run measured them. Empty where the file has none."""
    if is_cell(path):
        record = read_cell(path).record
        return {record.system: record.costs}
    metadata: dict[bytes, bytes] = pq.read_schema(path).metadata or {}
    costs: dict[str, dict[str, float]] = json.loads(metadata.get(b"costs", b"{}"))
    return costs
