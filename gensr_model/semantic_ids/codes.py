"""The codes of a catalogue: the number that makes them unique, and the file that generators read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gensr_model.data.prepared import IntArray, PreparedDataset
from gensr_model.errors import DataError
from gensr_model.runtime.files import write_table
from gensr_model.runtime.stage_folder import content_digest, folder_digest, read_record

FILE = "codes.parquet"
MOST_EQUAL = 256  # values of the last code, and so the largest number of items with equal codes before it
_DATASET = b"dataset"


def dataset_digest(dataset: PreparedDataset) -> str:
    """Digest of the names and bytes of a prepared folder's files."""
    try:
        return content_digest(read_record(dataset.folder))
    except FileNotFoundError:  # written without a stage
        return folder_digest(dataset.folder)


def bucket_sizes(codes: IntArray) -> IntArray:
    """(I,) number of items that share an item's codes (I, L)."""
    _, bucket, sizes = np.unique(codes, axis=0, return_inverse=True, return_counts=True)
    return sizes[bucket.ravel()].astype(np.int64)


def numbered(codes: IntArray) -> IntArray:
    """Codes (I, L) → unique codes (I, L + 1). The last code numbers items of equal codes from 0, in item order.

    Raises:
        DataError: more than 256 items have equal codes.
    """
    sizes = bucket_sizes(codes)
    if (largest := int(sizes.max(initial=0))) > MOST_EQUAL:
        equal = "-".join(map(str, codes[sizes.argmax()]))
        raise DataError(
            f"{largest} items have the semantic id {equal}, but at most {MOST_EQUAL} items can share "
            "one. Raise semantic_ids.codes, levels or steps, or choose other semantic_ids.vectors."
        )
    order = np.lexsort(codes.T[::-1])  # stable: items of equal codes stay in item order
    ordered = codes[order]
    first = np.append(True, (ordered[1:] != ordered[:-1]).any(axis=1))
    place = np.arange(len(codes))
    number = np.empty(len(codes), np.int64)
    number[order] = place - np.maximum.accumulate(np.where(first, place, 0))
    return np.column_stack([codes, number])


def write_codes(folder: Path, dataset: PreparedDataset, codes: IntArray) -> None:
    """Write ``codes.parquet``: raw_id, c1 … c(L + 1), title, in item order.

    Args:
        codes: (I, L + 1) as ``numbered`` gives them. The file's metadata names the prepared dataset.
    """
    columns = {f"c{level}": pa.array(column, pa.int32()) for level, column in enumerate(codes.T, start=1)}
    table = pa.table({"raw_id": dataset.items["raw_id"], **columns, "title": dataset.items["title"]})
    write_table(folder / FILE, table.replace_schema_metadata({_DATASET: dataset_digest(dataset)}))


def read_codes(folder: Path, dataset: PreparedDataset) -> IntArray:
    """The codes (I, L + 1) in a stage's folder, in item order. With the defaults (I, 4).

    Raises:
        DataError: there is no such file, or it was made from another prepared dataset.
    """
    path = folder / FILE
    if not path.is_file():
        raise DataError(
            f"{path}: no such file, but generators need the codes of semantic-ids. Run the stage semantic-ids again."
        )
    table = pq.read_table(path)
    made_of = (table.schema.metadata or {}).get(_DATASET, b"").decode()
    if made_of != (wanted := dataset_digest(dataset)):
        raise DataError(
            f"{path} was made from the prepared dataset {made_of or 'of no name'}, but "
            f"{dataset.folder} is {wanted}. Run semantic-ids on this dataset."
        )
    names = [f"c{level}" for level in range(1, table.num_columns - 1)]
    return np.column_stack([table[name].to_numpy() for name in names]).astype(np.int64)
