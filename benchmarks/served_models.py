"""Bundles for the benchmark of the server: untrained models, which take as long as trained ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from benchmarks.common import prepared
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.data.prepared import PreparedDataset
from gensr_model.models import bundle, user_store
from gensr_model.models.cf_tables import FILE
from gensr_model.runtime.files import write_tensors
from gensr_model.runtime.progress import NullReport
from gensr_model.training import lightgcn

_WORDS, _GROUPS, _EVENTS = 20_000, 2_000, 10


class Models(NamedTuple):
    """The folders of a GenSR and, for a small catalogue, of a full-ranking model. What requests may name."""

    gensr: Path
    full: Path | None
    users: list[str]
    queries: list[str]


def small(root: Path, items: int) -> Models:
    """Preset best over generated Amazon data with about ``items`` items."""
    dataset, config = prepared(2 * items, items, preset="best", model={"departures": {"folds": 0}})  # type: ignore[arg-type]
    cf = root / "cf"
    cf.mkdir()
    lightgcn.pretrain(dataset, config.lightgcn.model_copy(update={"epochs": 2}), 0, cf, NullReport())
    gensr, full = (_save(root / kind, kind, dataset, cf, config) for kind in ("gensr", "full_ranking"))
    return Models(gensr, full, dataset.table("users")["raw_id"].to_pylist(), dataset.queries)


def large(root: Path, items: int) -> Models:
    """Preset best without searches in texts, over a generated catalogue. Vectors lie in groups, as LightGCN's do."""
    rng = np.random.default_rng(0)
    folder, cf, users = root / "prepared", root / "cf", items // 50
    for made in (folder, cf):
        made.mkdir()
    words = np.array([f"word{n}" for n in range(_WORDS)])
    drawn = (_WORDS * rng.random((items, 16)) ** 3).astype(np.int64)  # a few words are frequent
    texts = [" ".join(row) for row in words[drawn]]
    blank = [""] * items
    columns = {"title": texts, "brand": blank, "description": blank, "category_text": blank}
    raw = [f"i{n}" for n in range(items)]
    pq.write_table(
        pa.table({"item_idx": pa.array(range(items), pa.int32()), "raw_id": raw, **columns}), folder / "items.parquet"
    )
    names = [f"u{n}" for n in range(users)]
    pq.write_table(
        pa.table({"user_idx": pa.array(range(users), pa.int32()), "raw_id": names}), folder / "users.parquet"
    )
    queries = [" ".join(row) for row in words[(_WORDS * rng.random((2_000, 2)) ** 2).astype(np.int64)]]
    pq.write_table(pa.table({"query_idx": range(len(queries)), "text": queries}), folder / "queries.parquet")
    group = rng.integers(_GROUPS, size=items)
    of_user = rng.integers(items, size=(users, _EVENTS))
    events = pa.table(
        {
            "user_idx": pa.array(np.repeat(np.arange(users), _EVENTS), pa.int32()),
            "item_idx": pa.array(of_user.ravel(), pa.int32()),
            "query_idx": pa.array([None] * of_user.size, pa.int32()),
            "ts": pa.array(np.tile(np.arange(_EVENTS), users), pa.int64()),
            "behavior": ["rec"] * of_user.size,
        }
    )
    pq.write_table(events, folder / "events.parquet")
    pq.write_table(events.select(["user_idx", "item_idx"]), folder / "graph.parquet")
    (folder / "manifest.json").write_text(json.dumps({"schema_version": 1}), encoding="utf-8")
    centres = rng.normal(size=(_GROUPS, 64)).astype(np.float32)
    item = 0.06 * centres[group] + 0.04 * rng.normal(size=(items, 64)).astype(np.float32)
    vectors = {"user": item[of_user].mean(axis=1), "item": item, "item_has_edges": np.ones(items, bool)}
    write_tensors(cf / FILE, {name: torch.from_numpy(value) for name, value in vectors.items()})
    departures: dict[str, Any] = {"searches_in_text": {"enabled": False}, "folds": 0}
    config = PipelineConfig.model_validate({"preset": "best", "model": {"departures": departures}})
    gensr = _save(root / "gensr", "gensr", PreparedDataset.open(folder), cf, config)
    return Models(gensr, None, names, queries)


def _save(folder: Path, kind: str, dataset: PreparedDataset, cf: Path, config: PipelineConfig) -> Path:
    folder.mkdir()
    model, tokenizer = bundle.assemble(kind, dataset, cf, config)
    bundle.save(folder, kind, model, tokenizer, dataset, config)
    user_store.save(folder, dataset, cf, config.model.max_history)
    return folder
