"""Tiny raw folders in the contract's schema, and how to read back what prepare makes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gensr_model.config.pipeline import PipelineConfig
from tasks.prepare.prepare import build_prepared

DAY = 86_400_000
START = 1_400_000_000_000 // DAY * DAY  # midnight UTC of a day in May 2014

Rows = list[dict[str, Any]]

_TEXT, _INT = pa.string(), pa.int64()
_REVIEWS = pa.schema(
    [("user", _TEXT), ("item", _TEXT), ("ts", _INT), ("rating", pa.float64()), ("file", _TEXT), ("line", _INT)]
)
_AMAZON_ITEMS = pa.schema(
    [*[(name, _TEXT) for name in ("item", "title", "brand", "description")], ("categories", pa.list_(pa.list_(_TEXT)))]
)
_REC = pa.schema(
    [("user", _TEXT), ("item", _TEXT), ("ts", _INT), ("click", pa.int8()), ("file", _TEXT), ("line", _INT)]
)
_SRC = pa.schema(
    [
        *[("user", _TEXT), ("item", _TEXT), ("ts", _INT), ("query", _TEXT), ("session", _TEXT)],
        *[("click_cnt", pa.int32()), ("item_type", _TEXT), ("source", _TEXT), ("file", _TEXT), ("line", _INT)],
    ]
)
_KUAISAR_ITEMS = pa.schema([("item", _TEXT), ("title", _TEXT), ("category_names", pa.list_(_TEXT)), ("author", _TEXT)])


def config(format: str = "amazon", seed: int = 0, **prepare: Any) -> PipelineConfig:
    """No k-core and one negative unless ``prepare`` says otherwise: tiny worlds stay whole."""
    settings = {"min_interactions": 1, "negatives": 1, "threads": 1, **prepare}
    return PipelineConfig.model_validate({"format": format, "seed": seed, "prepare": settings})


def amazon_raw(folder: Path, purchases: list[tuple[str, str, int]], categories: dict[str, list[list[str]]]) -> Path:
    """A raw folder of (user, item, day) purchases; every key of ``categories`` has a metadata row."""
    reviews = [
        {"user": user, "item": item, "ts": START + day * DAY, "rating": 5.0, "file": "reviews", "line": n}
        for n, (user, item, day) in enumerate(purchases, 1)
    ]
    items = [{"item": item, "title": f"title {item}", "categories": paths} for item, paths in categories.items()]
    return _write(folder, "amazon", {"reviews": (reviews, _REVIEWS), "items": (items, _AMAZON_ITEMS)})


def kuaisar_raw(folder: Path, rec: Rows, src: Rows, items: Rows) -> Path:
    """A raw folder of KuaiSAR rows; fields that a row leaves out get ordinary values."""
    rec = [{"click": 1, "file": "rec", "line": n, **row} for n, row in enumerate(rec, 1)]
    ordinary = {"query": "w1", "session": "s", "click_cnt": 1, "item_type": "VIDEO", "source": "x", "file": "src"}
    src = [{**ordinary, "line": n, **row} for n, row in enumerate(src, 1)]
    return _write(folder, "kuaisar", {"rec": (rec, _REC), "src": (src, _SRC), "items": (items, _KUAISAR_ITEMS)})


def _write(folder: Path, format: str, tables: dict[str, tuple[Rows, pa.Schema]]) -> Path:
    folder.mkdir(parents=True)
    for name, (rows, schema) in tables.items():
        pq.write_table(pa.Table.from_pylist(rows, schema), folder / f"{name}.parquet")
    read = sum(len(rows) for rows, _ in tables.values())
    manifest = {"format": format, "files": [], "read": read, "accepted": read, "rejected": 0}
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return folder


def random_amazon(folder: Path, seed: int = 0, users: int = 40, items: int = 60, each: int = 8) -> Path:
    """Purchases at random with many ties in time and repeats of items; a tenth of the items has no category."""
    draw = np.random.default_rng(seed)
    names = [f"i{n:03d}" for n in range(items)]
    purchases = [
        (f"u{user:03d}", names[draw.integers(items)], int(draw.integers(12)))
        for user in range(users)
        for _ in range(each)
    ]
    paths = {name: [["Top", f"Group {'abcdefg'[n % 7]}b"], ["Top", "Any"]] for n, name in enumerate(names)}
    return amazon_raw(folder, purchases, {name: paths[name] for n, name in enumerate(names) if n % 10})


def prepared(raw: Path, config: PipelineConfig, name: str = "prepared") -> Path:
    """``build_prepared`` into a sibling folder of ``raw``."""
    out = raw.parent / name
    out.mkdir()
    build_prepared(raw, config, out)
    return out


def rows(folder: Path, table: str) -> Rows:
    """The rows of one table of a prepared folder."""
    result: Rows = pq.read_table(folder / f"{table}.parquet").to_pylist()
    return result


def named_samples(folder: Path, split: str) -> list[tuple[str, str, str, str | None, int]]:
    """(task, user, item, query, history_end) of each sample, by raw ids."""
    users, items = ([row["raw_id"] for row in rows(folder, t)] for t in ("users", "items"))
    queries = [row["text"] for row in rows(folder, "queries")]
    return [
        (
            row["task"],
            users[row["user_idx"]],
            items[row["item_idx"]],
            None if row["query_idx"] is None else queries[row["query_idx"]],
            row["history_end"],
        )
        for row in rows(folder, f"samples_{split}")
    ]


def counts(folder: Path) -> dict[str, Any]:
    """The counts of a prepared folder's manifest."""
    result: dict[str, Any] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["counts"]
    return result
