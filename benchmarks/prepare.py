"""Raw tables in KuaiSAR's format to a prepared dataset: ours, against the same steps in pandas and in polars.

python -m benchmarks.prepare [--sizes 200000 1000000 5000000] [--ours-only] [--keep FOLDER]

Data are generated. Sizes are rows of both behaviors in the raw tables. `speedup` and `memory_ratio` compare with the
style of published scripts, `*_careful` with careful pandas, `*_polars` with polars. All sides write filtered events,
split, samples and candidates. These are asserted equal by digest, and the candidates by their rules. `--ours-only`
leaves the others out, for sizes that they do not survive.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks import pandas_prepare, polars_prepare
from benchmarks.shapes import kuaisar
from benchmarks.sides import Cost, arguments, exponent, in_child, measured
from gensr_model.config.pipeline import PipelineConfig

SPLITS = ("train", "valid", "test")
# Another way to prepare -> how its results are named.
OTHERS = {"script": "", "careful": "_careful", "polars": "_polars"}
SETTINGS: dict[str, Any] = {
    "format": "kuaisar",
    "prepare": {"threads": 2, "memory_limit": "8GB", "protocols": ["uniform"]},
}


def raw_tables(rows: int, folder: Path) -> None:
    """Generate about ``rows`` rows of interactions and ingest them into ``folder/raw``; in a child of its own."""
    from gensr_model.data.synthetic import write_kuaisar
    from tasks.ingest.ingest import build_raw

    write_kuaisar(folder / "csv", kuaisar(rows))
    (folder / "raw").mkdir()
    build_raw(PipelineConfig.model_validate(SETTINGS), folder / "csv", folder / "raw")
    shutil.rmtree(folder / "csv")


def outcome(folder: Path) -> dict[str, str]:
    """Counts and a digest that do not depend on the numbering of rows: by raw ids, sorted."""
    users = pq.read_table(folder / "users.parquet", columns=["raw_id"])["raw_id"]
    items = pq.read_table(folder / "items.parquet", columns=["raw_id"])["raw_id"]
    queries = pq.read_table(folder / "queries.parquet", columns=["text"])["text"]
    events = pq.read_table(folder / "events.parquet")
    start = np.searchsorted(events["user_idx"].to_numpy(), np.arange(len(users)))  # where a user's events begin
    digests = {}
    for name in ("events", *(f"samples_{split}" for split in SPLITS)):
        table = pq.read_table(folder / f"{name}.parquet")
        user = table["user_idx"].to_numpy()
        columns = {
            "user": users.take(table["user_idx"]),
            "item": items.take(table["item_idx"]),
            "query": pc.fill_null(queries.take(table["query_idx"]), ""),
            "ts": table["ts"],
        }
        if name == "events":
            columns |= {"behavior": table["behavior"], "source_row": table["source_row"]}
        else:
            history = pa.array(table["history_end"].to_numpy() - start[user])
            columns |= {"sample_id": table["sample_id"], "task": table["task"], "history": history}
        sorted_rows = pa.table(columns).sort_by([(column, "ascending") for column in columns])
        digest = hashlib.sha256()
        for column in sorted_rows.columns:
            for value in column.cast(pa.string()).combine_chunks().to_pylist():
                digest.update(f"{value}\n".encode())
        digests[name] = f"{len(table):,} rows, {digest.hexdigest()[:16]}"
    return digests


def check_candidates(folder: Path) -> None:
    """99 distinct items for every evaluation sample, none of them met by its user in any split."""
    events = pq.read_table(folder / "events.parquet", columns=["user_idx", "item_idx"])
    n_items = pq.read_metadata(folder / "items.parquet").num_rows
    met = np.unique(events["user_idx"].to_numpy().astype(np.int64) * n_items + events["item_idx"].to_numpy())
    for split in ("valid", "test"):
        samples = pq.read_table(folder / f"samples_{split}.parquet", columns=["sample_id", "user_idx"])
        lists = pq.read_table(folder / f"candidates_{split}.parquet")
        lists = lists.filter(pc.equal(lists["protocol"], "uniform"))
        user_of = dict(zip(samples["sample_id"].to_pylist(), samples["user_idx"].to_pylist(), strict=True))
        user = np.array([user_of[sample] for sample in lists["sample_id"].to_pylist()], np.int64)
        items = pc.list_flatten(lists["item_idx"]).to_numpy().reshape(len(lists), -1)
        assert items.shape == (len(samples), pandas_prepare.NEGATIVES)
        ordered = np.sort(items, axis=1)
        assert (ordered[:, 1:] > ordered[:, :-1]).all()
        assert ordered.min() >= 0
        assert ordered.max() < n_items
        assert not np.isin(user[:, None] * n_items + items, met).any()


def compare(rows: int, place: Path, with_others: bool) -> dict[str, Any]:
    """Both sides at one size; asserts equal outcomes, prints and returns the costs."""
    if not (place / "raw").is_dir():
        place.mkdir(parents=True, exist_ok=True)
        in_child("prepare", "--side", "raw", "--rows", rows, "--place", place)
    names = ["ours", *OTHERS] if with_others else ["ours"]
    costs: dict[str, Cost] = {}
    for name in names:
        shutil.rmtree(place / name, ignore_errors=True)
        (place / name).mkdir()
        costs[name] = Cost(*in_child("prepare", "--side", name, "--place", place))
        check_candidates(place / name)
    if with_others:
        expected = outcome(place / "ours")
        assert all(outcome(place / name) == expected for name in OTHERS)
    read = sum(pq.read_metadata(place / "raw" / f"{t}.parquet").num_rows for t in ("rec", "src"))
    result = {"rows": read, **{name: cost._asdict() for name, cost in costs.items()}}
    for name, suffix in OTHERS.items() if with_others else ():
        result[f"speedup{suffix}"] = round(costs[name].seconds / costs["ours"].seconds, 2)
        result[f"cpu_ratio{suffix}"] = round(costs[name].cpu_seconds / costs["ours"].cpu_seconds, 2)
        result[f"memory_ratio{suffix}"] = round(costs["ours"].peak_gb / costs[name].peak_gb, 3)
    print(json.dumps(result), flush=True)
    return result


@contextlib.contextmanager
def scratch(keep: Path | None) -> Iterator[Path]:
    """The folder ``keep``, or a temporary folder for the block."""
    if keep:
        yield keep.expanduser().resolve()
    else:
        with tempfile.TemporaryDirectory(prefix="gensr-benchmark-") as folder:
            yield Path(folder)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[200_000, 1_000_000, 5_000_000])
    parser.add_argument("--ours-only", action="store_true")
    parser.add_argument("--keep", type=Path, help="folder for the data; existing raw tables in it are used")
    parser.add_argument("--side", choices=("raw", "ours", *OTHERS), help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--place", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        place: Path = given.place
        out = place / given.side
        if given.side == "raw":
            cost = measured(lambda: raw_tables(given.rows, place))
        elif given.side == "ours":
            from tasks.prepare.prepare import build_prepared

            cost = measured(lambda: build_prepared(place / "raw", PipelineConfig.model_validate(SETTINGS), out))
        elif given.side == "polars":
            cost = measured(lambda: polars_prepare.prepare(place / "raw", out))
        else:
            cost = measured(lambda: pandas_prepare.prepare(place / "raw", out, style=given.side))
        print(json.dumps(cost))
        return
    sizes = sorted(given.sizes)
    with scratch(given.keep) as folder:
        results = [compare(rows, folder / str(rows), not given.ours_only) for rows in sizes]
    rows = [each["rows"] for each in results]
    print(
        json.dumps(
            {
                "claim": "raw KuaiSAR tables to prepared dataset, against pandas as published scripts use it",
                **{k: v for k, v in results[-1].items() if k.startswith(("speedup", "cpu_ratio", "memory_ratio"))},
                "growth_exponent": exponent(rows, [each["ours"]["seconds"] for each in results]),
                "growth_exponent_cpu": exponent(rows, [each["ours"]["cpu_seconds"] for each in results]),
                "sizes": results,
            }
        )
    )


if __name__ == "__main__":
    main()
