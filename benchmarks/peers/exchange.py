"""Data exchange with a peer: lists and histories out, scores in, and ranks by our tie rule.

Only the task recommendation, with only recommendation events in histories, as our baselines of that task have.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gensr_model.config.base import Split, Task
from gensr_model.data.prepared import IntArray, PreparedDataset, Samples
from gensr_model.errors import DataError
from gensr_model.evaluation.metrics import of_task, ranks_table
from gensr_model.evaluation.reference import popularity
from gensr_model.evaluation.saved_ranks import read_saved_ranks, widen

TASK: Task = "recommendation"


class Lists(NamedTuple):
    """Recommendation samples (N) of a split and their frozen lists (N, 100), the positive first."""

    samples: Samples
    items: IntArray


def lists(dataset: PreparedDataset, split: Split) -> Lists:
    """The lists that all our systems rank."""
    every, negatives = dataset.evaluated(split)
    rows = every.rows_of_tasks([TASK])
    samples = every.take(rows)
    return Lists(samples, np.concatenate([samples.item[:, None], negatives[rows]], axis=1))


def digest(given: Lists) -> str:
    """A digest that identifies a set of lists: sample ids and candidates."""
    content = hashlib.sha256("\n".join(given.samples.sample_id).encode())
    content.update(np.ascontiguousarray(given.items).tobytes())
    return content.hexdigest()[:16]


def histories(dataset: PreparedDataset, samples: Samples) -> pa.ListArray:
    """(N,) lists of items: the recommendation events before each sample, oldest first, uncut."""
    chosen = dataset.events.behavior == 0
    before = np.concatenate([[0], np.cumsum(chosen)])
    start, length = before[samples.history_start], before[samples.history_end] - before[samples.history_start]
    offsets = np.concatenate([[0], np.cumsum(length)])
    place = np.arange(offsets[-1]) - np.repeat(offsets[:-1] - start, length)
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(dataset.events.item[chosen][place]))


def export(dataset: PreparedDataset, job: dict[str, Any], folder: Path) -> None:
    """Write the input of ``recbole_child``; its docstring lists the columns."""
    train = dataset.samples("train")
    train = train.take(train.rows_of_tasks([TASK]))
    columns = {"user": train.user, "item": train.item, "history": histories(dataset, train)}
    pq.write_table(pa.table(columns), folder / "train.parquet")
    for split in ("valid", "test"):
        given = lists(dataset, split)
        columns = {"user": given.samples.user, "history": histories(dataset, given.samples)}
        candidates = pa.array(list(given.items), pa.list_(pa.int64()))
        pq.write_table(pa.table({**columns, "candidates": candidates}), folder / f"{split}.parquet")
    sizes = {"items": dataset.n_items, "users": dataset.n_users}
    (folder / "job.json").write_text(json.dumps({**job, **sizes}), encoding="utf-8")


def read_scores(path: Path, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """(N, 100) scores that a peer wrote. Raises DataError without one score for each candidate of each list."""
    column = pq.read_table(path)["scores"].combine_chunks()
    shapes = {len(column)} | set(pc.list_value_length(column).to_pylist())
    if shapes != set(shape):
        raise DataError(f"{path}: lists and lengths are {sorted(shapes)}, not {shape}. Train this peer again.")
    return column.flatten().to_numpy().reshape(shape)


def ranks_of(given: Lists, scores: npt.NDArray[np.float32]) -> pa.Table:
    """Ranks table (``RANKS_SCHEMA``) by our tie rule; NaNScoreError where a score is NaN."""
    return ranks_table(given.samples.sample_id, given.samples.task_names, scores)


class Saved(NamedTuple):
    """The peers' file: each peer's ranks and the facts of its training."""

    ranks: dict[str, pa.Table]
    facts: dict[str, dict[str, Any]]


def read(path: Path, expected: str) -> Saved:
    """Saved peers, empty without a file. Raises DataError where they ranked other lists than ``expected``."""
    if not path.is_file():
        return Saved({}, {})
    metadata = pq.read_schema(path).metadata
    if (saved_lists := metadata[b"lists"].decode()) != expected:
        raise DataError(
            f"{path}: these peers ranked lists {saved_lists}, but the prepared data has {expected}. "
            "Name another file with --to."
        )
    return Saved(read_saved_ranks(path), json.loads(metadata[b"peers"]))


def save(path: Path, name: str, ranks: pa.Table, facts: dict[str, Any], expected: str) -> None:
    """Add a peer to the file, or replace it."""
    saved = read(path, expected)
    tables, all_facts = {**saved.ranks, name: ranks}, {**saved.facts, name: facts}
    metadata = {"lists": expected, "peers": json.dumps(all_facts)}
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(widen(tables).replace_schema_metadata(metadata), path, compression="zstd")


def ours(paths: list[Path], dataset: PreparedDataset) -> dict[str, list[pa.Table]]:
    """Ranks of our systems on the same lists, one table per seed, from saved ranks or cells.

    Popularity is ranked anew and compared with the file. Raises DataError where the lists differ.
    """
    given = lists(dataset, "test")
    popular = ranks_of(given, popularity(dataset)(given.samples, given.items)).sort_by("sample_id")
    result: dict[str, list[pa.Table]] = {}
    for path in paths:
        for label, table in read_saved_ranks(path).items():
            rows = of_task(table, TASK)
            if label == "popularity" and rows.sort_by("sample_id") != popular:
                raise DataError(
                    f"{path}: popularity has other ranks here, so the lists differ. Prepare with its config."
                )
            if len(rows):
                result.setdefault(label.partition("/")[0], []).append(rows)
    return result
