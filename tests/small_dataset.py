"""A small prepared dataset with both tasks, written without the pipeline."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import save_file

from gensr_model.data.batches import Batch
from gensr_model.data.prepared import PreparedDataset
from gensr_model.models.item_vectors import ReadBatch

SMALL_MODEL: dict[str, Any] = {
    "max_history": 5,
    "text": {"description_tokens": 4},
    "backbone": {"vocab_size": 120, "d_model": 16, "d_kv": 8, "d_ff": 32, "heads": 2, "encoder_layers": 1},
    "view_heads": 2,
}  # ``model`` of a config that trains in a second
# A config of GenSR as the paper has it, whatever the default preset turns on. Tests name the sizes that they need.
SMALL_CONFIG: dict[str, Any] = {"preset": "laptop", "model": SMALL_MODEL}

USERS, ITEMS, LENGTH, NEGATIVES = 70, 40, 7, 9
ROOMS = ("kitchen", "garden", "office", "garage")


def write_dataset(folder: Path) -> PreparedDataset:
    """Every user buys and searches LENGTH items; the last purchase is test, the one before valid."""
    rng = np.random.default_rng(0)
    bought = np.stack([rng.permutation(ITEMS)[:LENGTH] for _ in range(USERS)])
    user, place, search = np.indices((USERS, LENGTH, 2)).reshape(3, -1)
    item = bought[user, place]
    log = Log(user, place, search, item, np.where(search, item % 4, -1), ts=place * 1_000)

    def negatives(user: int, _: int) -> list[int]:
        return rng.choice(np.setdiff1d(np.arange(ITEMS), bought[user]), NEGATIVES, replace=False).tolist()

    titles = [f"{ROOMS[i % 4]} thing number {i}" for i in range(ITEMS)]
    return write_log(folder, log, titles, ROOMS, negatives)


class Small(NamedTuple):
    """A prepared dataset, the folder of its LightGCN table, and a batch of its samples."""

    dataset: PreparedDataset
    cf: Path
    batch: Batch


class Log(NamedTuple):
    """Events (E,) in the order of user and time, each of them a sample, too."""

    user: np.ndarray
    place: np.ndarray  # the round of the user that the event is in; the last is test, the one before valid
    search: np.ndarray  # 1 for search
    item: np.ndarray
    query: np.ndarray  # -1: none
    ts: np.ndarray


def write_log(
    folder: Path, log: Log, titles: Sequence[str], queries: Sequence[str], negatives: Callable[[int, int], list[int]]
) -> PreparedDataset:
    """A prepared dataset of a log; ``negatives`` draws the candidates of a sample of a user and an item."""
    folder.mkdir()
    ints = {"user_idx": log.user, "item_idx": log.item}
    columns = {name: pa.array(values, pa.int32()) for name, values in ints.items()}
    columns["query_idx"] = pa.array(log.query, pa.int32(), mask=log.query < 0)
    columns["ts"] = pa.array(log.ts, pa.int64())
    events = pa.table({**columns, "behavior": np.where(log.search, "src", "rec")})
    moment = log.user * (int(log.ts.max()) + 1) + log.ts
    ids = zip(log.user, log.place, log.search, strict=True)
    samples = pa.table(
        {
            **columns,
            "sample_id": [f"{u:03d}{p}{s}" for u, p, s in ids],
            "task": np.where(log.search, "search", "recommendation"),
            "history_end": pa.array(np.searchsorted(moment, moment), pa.int64()),  # what happened before
        }
    )
    rounds = int(log.place.max())
    splits = {"train": log.place < rounds - 1, "valid": log.place == rounds - 1, "test": log.place == rounds}
    for split, rows in splits.items():
        part = samples.filter(pa.array(rows)).sort_by([("task", "ascending"), ("user_idx", "ascending")])
        pq.write_table(part, folder / f"samples_{split}.parquet")
        pairs = (part[name].to_pylist() for name in ints)
        drawn = pa.array([negatives(*pair) for pair in zip(*pairs, strict=True)], pa.list_(pa.int32()))
        protocol = ["uniform"] * part.num_rows
        table = pa.table({"sample_id": part["sample_id"], "protocol": protocol, "item_idx": drawn})
        pq.write_table(table, folder / f"candidates_{split}.parquet")
    items, users = len(titles), int(log.user.max()) + 1
    text = {"title": titles, **{name: [""] * items for name in ("brand", "description", "category_text")}}
    named = {"item_idx": pa.array(range(items), pa.int32()), "raw_id": [f"i{i}" for i in range(items)]}
    pq.write_table(pa.table({**named, **text}), folder / "items.parquet")
    table = pa.table({"user_idx": pa.array(range(users), pa.int32()), "raw_id": [f"u{u}" for u in range(users)]})
    pq.write_table(table, folder / "users.parquet")
    pq.write_table(pa.table({"query_idx": range(len(queries)), "text": list(queries)}), folder / "queries.parquet")
    pq.write_table(events, folder / "events.parquet")
    met = pa.array((log.place < rounds - 1) & (log.search == 0))
    pq.write_table(events.filter(met).select(["user_idx", "item_idx"]), folder / "graph.parquet")
    (folder / "manifest.json").write_text(json.dumps({"schema_version": 1}), encoding="utf-8")
    return PreparedDataset.open(folder)


def write_cf(folder: Path) -> Path:
    """A LightGCN table for the dataset; the last item has no edge."""
    folder.mkdir()
    rng = np.random.default_rng(1)
    tables = {
        "user": torch.from_numpy(rng.normal(size=(USERS, 8)).astype(np.float32)),
        "item": torch.from_numpy(rng.normal(size=(ITEMS, 8)).astype(np.float32)),
        "item_has_edges": torch.arange(ITEMS) < ITEMS - 1,
    }
    save_file(tables, folder / "lightgcn.safetensors")
    return folder


def write_world(root: Path) -> Path:
    """The dataset in ``root/prepared`` and its LightGCN table in ``root/cf``; returns ``root``."""
    write_dataset(root / "prepared")
    write_cf(root / "cf")
    return root


def read_items(
    items: torch.Tensor, cold: torch.Tensor | None = None, left_out: torch.Tensor | None = None
) -> ReadBatch:
    """A batch of items (M,) as a model reads it: one sample without a query, whose target is the first of them."""
    row = torch.tensor([[0]])
    batch = Batch(items, row, row == 0, row, row, *(row[0] for _ in range(4)))
    return ReadBatch(batch, cold, left_out)
