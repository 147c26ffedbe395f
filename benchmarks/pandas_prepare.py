"""KuaiSAR's raw tables to samples and candidates in pandas, in two styles.

*script*: as in common published preprocessing: ``groupby().filter(lambda x: len(x) >= 5)`` until nothing changes,
merges, one sort, a loop over users for histories and for the items that each user has not met. *careful*: the same,
with the filter by ``value_counts``, and negatives drawn until there are enough.

Ids are integers in both, the best case for pandas. The files have our columns, so that the sides can be compared. Items
and users are numbered in the order of their integer ids.
"""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import numpy as np
import pandas as pd

K, NEGATIVES = 5, 99
DAY_MS, SHANGHAI_MS = 86_400_000, 8 * 3_600_000


def prepare(raw: Path, out: Path, style: str, seed: int = 0) -> None:
    """The folder ``raw`` that ingest wrote -> events, samples, candidates, items, users and queries in ``out``."""
    script = style == "script"
    frame = (_filtered_by_group if script else _filtered)(_interactions(raw))
    frame = _indexed(frame, raw, out)
    samples = _samples(frame)
    met = {user: set(items) for user, items in frame.groupby("user_idx")["item_idx"]}
    n_items = int(frame["item_idx"].max()) + 1
    for split in ("train", "valid", "test"):
        part = samples[samples["split"] == split].drop(columns="split")
        part = part.sort_values(["task", "user_idx", "ts", "sample_id"])
        part.to_parquet(out / f"samples_{split}.parquet", index=False)
        if split != "train":
            draw = _drawn_from_unmet if script else _drawn_until_enough
            lists = [row for _, row in sorted(draw(part, met, n_items, random.Random(seed)).items())]
            candidates = {"sample_id": part["sample_id"], "protocol": "uniform", "item_idx": lists}
            pd.DataFrame(candidates).to_parquet(out / f"candidates_{split}.parquet", index=False)


def _interactions(raw: Path) -> pd.DataFrame:
    """The engaged rows of both behaviors, each once, with the first row of the file that has it."""
    rec = pd.read_parquet(raw / "rec.parquet", columns=["user", "item", "ts", "click"])
    rec = rec.astype({"user": "int64", "item": "int64"}).reset_index(names="source_row")
    rec = rec.groupby(["user", "item", "ts"], as_index=False, sort=False).agg(
        click=("click", "max"), source_row=("source_row", "min")
    )
    rec = rec[rec["click"] > 0].drop(columns="click").assign(behavior="rec", query=None)
    columns = ["user", "session", "ts", "query", "source", "item"]
    src = pd.read_parquet(raw / "src.parquet", columns=[*columns, "click_cnt"])
    src = src.astype({"user": "int64", "item": "int64"}).reset_index(names="source_row")
    src = src.groupby(columns, as_index=False, sort=False, dropna=False).agg(
        click_cnt=("click_cnt", "max"), source_row=("source_row", "min")
    )
    src = src[(src["click_cnt"] > 0) & (src["query"].fillna("").str.strip() != "")]
    src = src.groupby(["user", "item", "ts", "query"], as_index=False, sort=False)["source_row"].min()
    return pd.concat([rec, src.assign(behavior="src")], ignore_index=True)


def _filtered(frame: pd.DataFrame) -> pd.DataFrame:
    """Users with both behaviors; users and items with at least K interactions, until nothing changes."""
    before, least = -1, 1  # the first round asks for both behaviors alone
    while len(frame) != before or least == 1:
        before = len(frame)
        users = frame.groupby("user")["behavior"].agg(["count", "nunique"])
        items = frame["item"].value_counts()
        keep_users = users.index[(users["count"] >= least) & (users["nunique"] == 2)]
        keep_items = items.index[items >= least]
        frame = frame[frame["user"].isin(keep_users) & frame["item"].isin(keep_items)]
        least = K
    return frame


def _filtered_by_group(frame: pd.DataFrame) -> pd.DataFrame:
    """The same rows: one Python call per user and per item."""
    before = -1
    while len(frame) != before:
        before = len(frame)
        frame = frame.groupby("user").filter(lambda x: x["behavior"].nunique() == 2)
        frame = frame.groupby("user").filter(lambda x: len(x) >= K)
        frame = frame.groupby("item").filter(lambda x: len(x) >= K)
    return frame


def _indexed(frame: pd.DataFrame, raw: Path, out: Path) -> pd.DataFrame:
    """Number users, items and queries, write their tables, sort and write the events."""
    items = pd.DataFrame({"raw_id": np.sort(frame["item"].unique())}).reset_index(names="item_idx")
    users = pd.DataFrame({"raw_id": np.sort(frame["user"].unique())}).reset_index(names="user_idx")
    queries = pd.DataFrame({"text": np.sort(frame["query"].dropna().unique())}).reset_index(names="query_idx")
    features = pd.read_parquet(raw / "items.parquet")
    features["item"] = features["item"].astype("int64")
    features = features.drop_duplicates("item")
    described = items.merge(features, left_on="raw_id", right_on="item", how="left").drop(columns="item")
    described["title"] = described["title"].fillna("")
    described["category_text"] = [
        " ".join(names) if isinstance(names, np.ndarray) else "" for names in described["category_names"]
    ]
    described.assign(raw_id=described["raw_id"].astype(str)).to_parquet(out / "items.parquet", index=False)
    users.assign(raw_id=users["raw_id"].astype(str)).to_parquet(out / "users.parquet", index=False)
    queries.to_parquet(out / "queries.parquet", index=False)
    frame = frame.merge(users.rename(columns={"raw_id": "user"}), on="user")
    frame = frame.merge(items.rename(columns={"raw_id": "item"}), on="item")
    frame = frame.merge(queries.rename(columns={"text": "query"}), on="query", how="left")
    frame["query_idx"] = frame["query_idx"].astype("Int32")
    frame = frame.sort_values(["user_idx", "ts", "source_row", "behavior"]).reset_index(drop=True)
    columns = ["user_idx", "item_idx", "behavior", "query_idx", "ts", "source_row"]
    frame[columns].to_parquet(out / "events.parquet", index=False)
    return frame


def _samples(frame: pd.DataFrame) -> pd.DataFrame:
    """One sample per event, by day; a loop over users finds where each history ends."""
    day = (frame["ts"] + SHANGHAI_MS) // DAY_MS
    last = day.max()
    history_end = np.empty(len(frame), np.int64)
    for _, events in frame.groupby("user_idx", sort=False):
        first = None
        for position, ts in zip(events.index, events["ts"], strict=True):
            if first is None or ts != first[1]:
                first = (position, ts)
            history_end[position] = first[0]
    task = np.where(frame["behavior"] == "rec", "recommendation", "search")
    fields = zip(task, frame["user"], frame["item"], frame["ts"], frame["query"].fillna(""), strict=True)
    return pd.DataFrame(
        {
            "sample_id": [
                hashlib.md5("\x1f".join(map(str, f)).encode(), usedforsecurity=False).hexdigest()[:16] for f in fields
            ],
            "task": task,
            "user_idx": frame["user_idx"],
            "item_idx": frame["item_idx"],
            "query_idx": frame["query_idx"],
            "ts": frame["ts"],
            "history_end": history_end,
            "split": np.where(day == last, "test", np.where(day == last - 1, "valid", "train")),
        }
    )


def _drawn_until_enough(
    samples: pd.DataFrame, met: dict[int, set[int]], n_items: int, draw: random.Random
) -> dict[int, list[int]]:
    """Row number -> negatives. A loop over samples: draw until there are enough items that the user has not met."""
    lists = {}
    for row, user in enumerate(samples["user_idx"]):
        negatives: set[int] = set()
        seen = met[user]
        while len(negatives) < NEGATIVES:
            item = draw.randrange(n_items)
            if item not in seen:
                negatives.add(item)
        lists[row] = list(negatives)
    return lists


def _drawn_from_unmet(
    samples: pd.DataFrame, met: dict[int, set[int]], n_items: int, draw: random.Random
) -> dict[int, list[int]]:
    """Row number -> negatives. A loop over users: the items that the user has not met, and a sample of those."""
    everything, lists = set(range(n_items)), {}
    rows = samples["user_idx"].reset_index(drop=True)
    for user, group in rows.groupby(rows):
        unmet = list(everything - met[user])
        for row in group.index:
            lists[row] = draw.sample(unmet, NEGATIVES)
    return lists
