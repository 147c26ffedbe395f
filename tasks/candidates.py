"""The frozen candidate lists: uniform negatives per evaluation sample, drawn by digest, slice by slice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa

from gensr_model.config import PrepareConfig
from gensr_model.errors import DataError
from tasks import prepared_files as files
from tasks.duck import run

_SLICE = 20_000  # samples drawn together: bounds memory, does not change what is drawn
_SPARE = 16  # draws of a round beyond the negatives: most samples are complete after the first round


def draw_candidates(
    con: duckdb.DuckDBPyConnection, split: str, config: PrepareConfig, seed: int, path: Path
) -> int:
    """Draw ``config.negatives`` items for each sample of ``split``, write ``path``, return the number of samples.

    Reads the tables samples, items, users and met of ``con``. A list holds distinct items that the user met in no
    split and by no behavior; it depends on (seed, sample_id, catalogue, what the user met) alone (§6.1.3 of the
    paper: uniform). Raises DataError where a user leaves too few items to draw from.
    """
    run(con, "prepared/42_numbered_samples", {"split": split})
    fewest = files.one_row(con, "prepared/41_fewest_unmet")
    items, met = fewest["items"], fewest["met"]
    if items - met < config.negatives:
        raise DataError(
            f"the catalogue is too small for {config.negatives} negatives: user {fewest['raw_id']!r} met {met} of "
            f"{items} items, which leaves {items - met}. Lower prepare.negatives or bring more items"
        )
    total = files.one_row(con, "prepared/43_sample_count")["samples"]
    return files.write(path, files.CANDIDATES, _drawn(con, total, items, config.negatives, seed))


def _drawn(
    con: duckdb.DuckDBPyConnection, total: int, items: int, negatives: int, seed: int
) -> Iterator[pa.RecordBatch]:
    draws = negatives + _SPARE
    for first in range(0, total, _SLICE):
        run(con, "prepared/44_slice", {"first": first, "stop": first + _SLICE})
        run(con, "prepared/45_chosen")
        drawn = 0
        while files.one_row(con, "prepared/47_short", {"negatives": negatives})["samples"]:
            limits = {"items": items, "negatives": negatives, "first_draw": drawn, "stop_draw": drawn + draws}
            run(con, "prepared/46_draw", {"seed": seed, **limits})
            drawn += draws
        yield from files.rows_of(con, "prepared/48_candidates")
