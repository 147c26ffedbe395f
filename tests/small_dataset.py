"""A small prepared dataset with both tasks, written without the pipeline."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import save_file

from gensr_model.data.prepared import PreparedDataset

USERS, ITEMS, LENGTH, NEGATIVES = 70, 40, 7, 9
ROOMS = ("kitchen", "garden", "office", "garage")


def write_dataset(folder: Path) -> PreparedDataset:
    """Every user buys and searches LENGTH items; the last purchase is test, the one before valid."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    bought = np.stack([rng.permutation(ITEMS)[:LENGTH] for _ in range(USERS)])
    user, place, search = np.indices((USERS, LENGTH, 2)).reshape(3, -1)
    item = bought[user, place]
    ints = {"user_idx": user, "item_idx": item}
    columns = {name: pa.array(values, pa.int32()) for name, values in ints.items()}
    columns["query_idx"] = pa.array(
        [int(i) % 4 if s else None for i, s in zip(item, search, strict=True)], pa.int32()
    )
    columns["ts"] = pa.array(place * 1_000, pa.int64())
    events = pa.table({**columns, "behavior": np.where(search, "src", "rec")})
    samples = pa.table(
        {
            **columns,
            "sample_id": [f"{u:03d}{p}{s}" for u, p, s in zip(user, place, search, strict=True)],
            "task": np.where(search, "search", "recommendation"),
            "history_end": pa.array((user * LENGTH + place) * 2, pa.int64()),
        }
    )
    splits = {"train": place < LENGTH - 2, "valid": place == LENGTH - 2, "test": place == LENGTH - 1}
    for split, rows in splits.items():
        part = samples.filter(pa.array(rows)).sort_by([("task", "ascending"), ("user_idx", "ascending")])
        pq.write_table(part, folder / f"samples_{split}.parquet")
        drawn = [
            rng.choice(np.setdiff1d(np.arange(ITEMS), bought[u]), NEGATIVES, replace=False).tolist()
            for u in part["user_idx"].to_pylist()
        ]
        negatives = pa.array(drawn, pa.list_(pa.int32()))
        protocol = ["uniform"] * part.num_rows
        table = pa.table({"sample_id": part["sample_id"], "protocol": protocol, "item_idx": negatives})
        pq.write_table(table, folder / f"candidates_{split}.parquet")
    text = {
        "title": [f"{ROOMS[i % 4]} thing number {i}" for i in range(ITEMS)],
        **{name: [""] * ITEMS for name in ("brand", "description", "category_text")},
    }
    ids = {"item_idx": pa.array(range(ITEMS), pa.int32()), "raw_id": [f"i{i}" for i in range(ITEMS)]}
    pq.write_table(pa.table({**ids, **text}), folder / "items.parquet")
    users = {"user_idx": pa.array(range(USERS), pa.int32()), "raw_id": [f"u{u}" for u in range(USERS)]}
    pq.write_table(pa.table(users), folder / "users.parquet")
    pq.write_table(pa.table({"query_idx": range(4), "text": list(ROOMS)}), folder / "queries.parquet")
    pq.write_table(events, folder / "events.parquet")
    met = pa.array((place < LENGTH - 2) & (search == 0))
    pq.write_table(events.filter(met).select(["user_idx", "item_idx"]), folder / "graph.parquet")
    (folder / "manifest.json").write_text(json.dumps({"schema_version": 1}))
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
