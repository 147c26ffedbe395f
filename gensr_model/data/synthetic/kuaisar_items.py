"""item_features of the generated KuaiSAR world: captions of word ids and four category levels, some missing."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gensr_model.data.synthetic.kuaisar_text import KuaiText, captions
from gensr_model.data.synthetic.vocabulary import TREE
from gensr_model.data.synthetic.world import World

ROWS_PER_BLOCK = 100_000
MISSING = (("first", 0.06), ("second", 0.10), ("third", 0.35), ("fourth", 1.0))  # share without a level
FIRST_ID = {"first": 1, "second": 100_001, "third": 1_000_001, "fourth": 9_000_001}
ITEM_TYPES, NO_NAME = pa.array(["NORMAL", "AD"]), pa.array(["UNKNOWN", "empty"])
UPLOAD_TIMES = pa.array(["2023-05-01", "1970-1-1"])
UPLOAD_TYPES = pa.array(["LongImport", "ShortImport", "Kmovie"])


def item_tables(rng: np.random.Generator, world: World, text: KuaiText, raw_item: np.ndarray) -> Iterator[pa.Table]:
    """item_features, block by block, sorted by raw id. ``raw_item`` (items,) maps a world's item to its id."""
    department = np.array([d for d, _, _ in world.leaves])
    chinese = [TREE[name][0] for name in world.departments]
    names = {
        "first": (chinese, world.departments),
        "second": (
            [f"{chinese[d]}类{i}" for i, (d, _, _) in enumerate(world.leaves)],
            [name for _, name, _ in world.leaves],
        ),
        "third": (
            [f"品种{i}" for i in range(4 * len(world.leaves))],
            [name.title() for _, _, kinds in world.leaves for name in kinds],
        ),
        "fourth": (["其他"], ["Other"]),
    }
    name_arrays = {level: (pa.array(zh), pa.array(en)) for level, (zh, en) in names.items()}
    order = np.argsort(raw_item, kind="stable")
    for start in range(0, len(order), ROWS_PER_BLOCK):
        items = order[start : start + ROWS_PER_BLOCK]
        n, leaf = len(items), world.leaf[items].astype(np.int64)
        at = {
            "first": department[leaf],
            "second": leaf,
            "third": 4 * leaf + world.kind[items],
            "fourth": np.zeros(n, np.int64),
        }
        columns = {
            "item_id": raw_item[items],
            "caption": captions(rng, world, text, items),
            "author_id": np.where(rng.random(n) < 0.05, 0, rng.integers(1, 1 + world.n_items // 3, n)),
            "item_type": ITEM_TYPES.take(pa.array((rng.random(n) < 0.03).astype(np.int8))),
            "upload_time": UPLOAD_TIMES.take(pa.array((rng.random(n) < 0.03).astype(np.int8))),
            "upload_type": UPLOAD_TYPES.take(pa.array(rng.integers(0, len(UPLOAD_TYPES), n))),
            "music_id": rng.integers(0, 500, n),
        }
        missing = np.zeros(n, bool)
        for level, share in MISSING:
            missing = missing | (rng.random(n) < share)  # nothing stands below a missing level
            zh, en = name_arrays[level]
            place, gap = pa.array(at[level]), pa.array(missing)
            unknown = NO_NAME.take(pa.array(rng.integers(0, len(NO_NAME), n)))
            columns[f"{level}_level_category_id"] = np.where(missing, 0, FIRST_ID[level] + at[level])
            columns[f"{level}_level_category_name"] = pc.if_else(gap, "空", zh.take(place))
            columns[f"{level}_level_category_name_en"] = pc.if_else(gap, unknown, en.take(place))
        yield pa.table(columns)
