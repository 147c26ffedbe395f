"""A prepared dataset of which nothing is there but whose test samples are whose: what comparisons of ranks read."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from gensr_model.data.prepared import SCHEMA_VERSION
from tasks.core.stage import StageResult
from tasks.evaluate.rank import read_ranks
from tasks.evaluate.run_data import Data


def data_of(folder: Path, ranks: Iterable[StageResult], per_user: int = 1) -> Data:
    """Data whose test samples are those of ``ranks``, each ``per_user`` of them, as they come, of one user."""
    actual = {sample: None for result in ranks for sample in read_ranks(result)["sample_id"].to_pylist()}
    folder.mkdir(exist_ok=True)
    (folder / "manifest.json").write_text(json.dumps({"schema_version": SCHEMA_VERSION}), encoding="utf-8")
    users = pa.table({"sample_id": list(actual), "user_idx": [n // per_user for n in range(len(actual))]})
    pq.write_table(users, folder / "samples_test.parquet")
    one = StageResult("prepare", "data-digest", folder, {}, 0.0, False)
    return Data(one, one, one, one, [])
