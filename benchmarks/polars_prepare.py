"""KuaiSAR's raw tables to samples and candidates in polars: expressions in place of loops, on two threads.

Polars has no MD5, so ids of samples come from a loop over rows, as in pandas. Negatives are drawn for all samples at
once in NumPy: drawn again where a user has met them, or has them twice, until none is left.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.pandas_prepare import DAY_MS, NEGATIVES, SHANGHAI_MS, K

KEYS = ("user", "item", "ts")


def prepare(raw: Path, out: Path, seed: int = 0) -> None:
    """The folder ``raw`` that ingest wrote -> events, samples, candidates, items, users and queries in ``out``."""
    events = _indexed(_filtered(_interactions(raw)), raw, out)
    samples = _samples(events)
    n_items = int(events["item_idx"].max()) + 1  # type: ignore[arg-type]
    met = np.unique(events["user_idx"].to_numpy().astype(np.int64) * n_items + events["item_idx"].to_numpy())
    for split in ("train", "valid", "test"):
        part = samples.filter(pl.col("split") == split).drop("split").sort("task", "user_idx", "ts", "sample_id")
        part.write_parquet(out / f"samples_{split}.parquet")
        if split != "train":
            lists = _negatives(part["user_idx"].to_numpy(), met, n_items, np.random.default_rng(seed))
            pl.DataFrame(
                {"sample_id": part["sample_id"], "protocol": ["uniform"] * len(part), "item_idx": list(lists)}
            ).write_parquet(out / f"candidates_{split}.parquet")


def _interactions(raw: Path) -> pl.DataFrame:
    """The engaged rows of both behaviors, each once, with the first row of the file that has it."""
    ids = [pl.col("user", "item").cast(pl.Int64)]
    rec = pl.scan_parquet(raw / "rec.parquet").select(*KEYS, "click").with_row_index("source_row").with_columns(ids)
    rec = rec.group_by(KEYS).agg(pl.col("click").max(), pl.col("source_row").min()).filter(pl.col("click") > 0)
    rec = rec.select(*KEYS, "source_row", behavior=pl.lit("rec"), query=pl.lit(None, pl.String))
    shown = ["user", "session", "ts", "query", "source", "item"]
    src = pl.scan_parquet(raw / "src.parquet").select(*shown, "click_cnt").with_row_index("source_row")
    src = src.with_columns(ids).group_by(shown).agg(pl.col("click_cnt").max(), pl.col("source_row").min())
    src = src.filter((pl.col("click_cnt") > 0) & (pl.col("query").fill_null("").str.strip_chars() != ""))
    src = src.group_by(*KEYS, "query").agg(pl.col("source_row").min())
    src = src.select(*KEYS, "source_row", behavior=pl.lit("src"), query=pl.col("query"))
    return pl.concat([rec, src]).collect()


def _filtered(frame: pl.DataFrame) -> pl.DataFrame:
    """Users with both behaviors; users and items with at least K interactions, until nothing changes."""
    before, least = -1, 1  # the first round asks for both behaviors alone
    while len(frame) != before or least == 1:
        before = len(frame)
        users = frame.group_by("user").agg(pl.len(), pl.col("behavior").n_unique())
        users = users.filter((pl.col("len") >= least) & (pl.col("behavior") == 2))
        items = frame.group_by("item").len().filter(pl.col("len") >= least)
        frame = frame.join(users, on="user", how="semi").join(items, on="item", how="semi")
        least = K
    return frame


def _indexed(frame: pl.DataFrame, raw: Path, out: Path) -> pl.DataFrame:
    """Number users, items and queries, write their tables, sort and write the events."""
    users, items, queries = (
        frame.select(pl.col(name).drop_nulls().unique().sort()).with_row_index(f"{name}_idx")
        for name in ("user", "item", "query")
    )
    features = pl.read_parquet(raw / "items.parquet").with_columns(pl.col("item").cast(pl.Int64))
    described = items.join(features.unique("item", keep="first", maintain_order=True), on="item", how="left")
    described = described.with_columns(
        pl.col("title").fill_null(""), category_text=pl.col("category_names").list.join(" ").fill_null("")
    )
    described.rename({"item": "raw_id"}).with_columns(pl.col("raw_id").cast(pl.String)).write_parquet(
        out / "items.parquet"
    )
    users.select("user_idx", raw_id=pl.col("user").cast(pl.String)).write_parquet(out / "users.parquet")
    queries.select("query_idx", text="query").write_parquet(out / "queries.parquet")
    frame = frame.join(users, on="user").join(items, on="item").join(queries, on="query", how="left")
    frame = frame.sort("user_idx", "ts", "source_row", "behavior")
    frame.select("user_idx", "item_idx", "behavior", "query_idx", "ts", "source_row").write_parquet(
        out / "events.parquet"
    )
    return frame


def _samples(events: pl.DataFrame) -> pl.DataFrame:
    """One sample per event, by day. A history ends where the user's first event of the instant stands."""
    day = (pl.col("ts") + SHANGHAI_MS) // DAY_MS
    made = events.with_row_index("place").with_columns(
        task=pl.when(pl.col("behavior") == "rec").then(pl.lit("recommendation")).otherwise(pl.lit("search")),
        history_end=pl.col("place").min().over("user_idx", "ts").cast(pl.Int64),
        split=pl.when(day == day.max()).then(pl.lit("test"))
        .when(day == day.max() - 1).then(pl.lit("valid")).otherwise(pl.lit("train")),
    )  # fmt: skip
    text = made.select(pl.concat_str("task", "user", "item", "ts", pl.col("query").fill_null(""), separator="\x1f"))
    ids = [hashlib.md5(row.encode(), usedforsecurity=False).hexdigest()[:16] for row in text.to_series()]
    columns = ("task", "user_idx", "item_idx", "query_idx", "ts", "history_end", "split")
    return made.select(pl.Series("sample_id", ids), *columns)


def _negatives(user: np.ndarray, met: np.ndarray, n_items: int, draw: np.random.Generator) -> np.ndarray:
    """(N, 99) distinct items that the users have not met; ``met`` are sorted keys user · I + item."""
    lists = draw.integers(n_items, size=(len(user), NEGATIVES))
    while True:
        lists.sort(axis=1)
        keys = user[:, None].astype(np.int64) * n_items + lists
        place = np.minimum(np.searchsorted(met, keys), len(met) - 1)
        again = met[place] == keys
        again[:, 1:] |= lists[:, 1:] == lists[:, :-1]
        if not again.any():
            return lists
        lists[again] = draw.integers(n_items, size=int(again.sum()))
