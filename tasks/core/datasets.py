"""The prepared dataset as MLflow's dataset inputs of the runs that read it: one input for each split."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from mlflow.entities import Dataset, DatasetInput, InputTag
from mlflow.types import ColSpec, DataType, Schema
from mlflow.types.schema import AnyType

from gensr_model.config.base import SPLITS, digest
from gensr_model.runtime.stage_folder import read_record

_CONTEXT = "mlflow.data.context"
_TYPES = {
    pa.string(): DataType.string,
    pa.int64(): DataType.long,
    pa.int32(): DataType.integer,
    pa.float64(): DataType.double,
    pa.bool_(): DataType.boolean,
}


def dataset_inputs(name: str, prepared: Path, splits: Sequence[str] = SPLITS) -> list[DatasetInput]:
    """The splits of a prepared dataset as inputs of a run, each with its split as context.

    The digest is of the files that a reader of the split reads: the shared tables and the split's own. The schema is
    that of the samples. The profile has counts. The source is the folder in the store.
    """
    files = {file: entry["sha256"] for file, entry in read_record(prepared)["files"].items()}
    counts = json.loads((prepared / "manifest.json").read_text(encoding="utf-8"))["counts"]
    inputs = []
    for split in splits:
        others = tuple(f"_{other}.parquet" for other in SPLITS if other != split)
        own = {file: sha256 for file, sha256 in files.items() if not file.endswith(others)}
        samples = pq.read_schema(prepared / f"samples_{split}.parquet")
        columns = Schema([ColSpec(_TYPES.get(c.type, AnyType()), c.name, required=not c.nullable) for c in samples])
        profile = {"num_rows": counts[f"samples_{split}"]} | {t: counts[t] for t in ("users", "items", "events")}
        dataset = Dataset(
            name=name,
            digest=digest([own, split], length=8),
            source_type="local",
            source=json.dumps({"uri": prepared.as_uri()}),
            schema=json.dumps({"mlflow_colspec": columns.to_dict()}),
            profile=json.dumps(profile),
        )
        inputs.append(DatasetInput(dataset, [InputTag(_CONTEXT, split)]))
    return inputs
