"""KuaiSAR's five CSV files -> raw tables, by column name. No Prefect, no SQL text."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import NamedTuple

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from gensr_model.errors import DataError
from tasks.core import sql_runner
from tasks.ingest.csv_blocks import read_csv
from tasks.ingest.file_cache import Blocks, Parts, in_order, keep_first, name_of, put_together
from tasks.ingest.rejects import REJECTED, Account

_TEXT, _INT = pa.string(), pa.int64()
_PLACE = [("file", _TEXT), ("line", _INT)]


class Spec(NamedTuple):
    """How one CSV becomes one raw table; the query of the same name under ``sql/kuaisar`` does the typing."""

    table: str
    file: str
    required: tuple[str, ...]
    optional: tuple[str, ...]
    schema: pa.Schema
    may_be_absent: bool = False


def _names(suffix: str) -> tuple[str, ...]:
    return tuple(f"{level}_level_category_{suffix}" for level in ("first", "second", "third", "fourth"))


SPECS = (
    Spec(
        "rec",
        "rec_inter.csv",
        ("user_id", "item_id", "timestamp", "click"),
        (),
        pa.schema([("user", _TEXT), ("item", _TEXT), ("ts", _INT), ("click", pa.int8()), *_PLACE]),
    ),
    Spec(
        "src",
        "src_inter.csv",
        ("user_id", "item_id", "search_session_timestamp", "keyword", "search_session_id", "click_cnt"),
        ("item_type", "search_source"),
        pa.schema(
            [
                *[("user", _TEXT), ("item", _TEXT), ("ts", _INT), ("query", _TEXT), ("session", _TEXT)],
                *[("click_cnt", pa.int32()), ("item_type", _TEXT), ("source", _TEXT), *_PLACE],
            ]
        ),
    ),
    Spec(
        "items",
        "item_features.csv",
        ("item_id", "caption", *_names("name_en")),
        ("author_id",),
        pa.schema(
            [("item", _TEXT), ("title", _TEXT), ("category_names", pa.list_(_TEXT)), ("author", _TEXT)]
        ),
    ),
    Spec(
        "users",
        "user_features.csv",
        ("user_id",),
        ("onehot_feat1", "onehot_feat2", "search_active_level", "rec_active_level"),
        pa.schema(
            [
                *[("user", _TEXT), ("onehot_feat1", _INT), ("onehot_feat2", _INT)],
                *[("search_active_level", _INT), ("rec_active_level", _INT)],
            ]
        ),
    ),
    Spec(
        "social",
        "social_network.csv",
        ("user_id", "user_follow_id"),
        (),
        pa.schema([("user", _TEXT), ("followee", _TEXT)]),
        may_be_absent=True,
    ),
)
ALIASES = {"reco_active_level": "rec_active_level"}


def kuaisar_files(folder: Path) -> dict[str, tuple[Path, ...]]:
    """Raw table name -> its CSV files, in ``folder`` itself or in the one folder below it that has ``rec_inter.csv``.

    A table may come in parts: ``rec_inter.csv``, ``rec_inter.2023-06-01.csv``, ... Raises DataError if files are
    missing, if a part is there twice, or if several copies of the data lie below ``folder``.
    """
    homes = sorted({path.parent for path in folder.rglob("rec_inter.*") if _is_part(path, "rec_inter")})
    if folder in homes:
        homes = [folder]
    if len(homes) > 1:
        raise DataError(
            f"{folder}: several copies of KuaiSAR: {', '.join(str(home) for home in homes)}. "
            "Set source.path to the one to be read."
        )
    home = homes[0] if homes else folder
    found: dict[str, tuple[Path, ...]] = {}
    missing: list[str] = []
    for spec in SPECS:
        stem = spec.file.removesuffix(".csv")
        names = in_order(path for path in home.iterdir() if _is_part(path, stem))
        if names:
            found[spec.table] = names
        elif not spec.may_be_absent:
            missing.append(spec.file)
    if missing:
        present = ", ".join(path.name for path in sorted(home.iterdir())[:12]) or "nothing"
        amazon = any(path.name.startswith(("reviews_", "meta_")) for path in home.iterdir())
        hint = " It looks like Amazon data: set format to amazon." if amazon else ""
        raise DataError(
            f"{home}: no {', '.join(missing)} (KuaiSAR files, unpacked or .gz). The folder holds: {present}.{hint}"
        )
    return found


def _is_part(path: Path, stem: str) -> bool:
    name = name_of(path)
    return name is not None and (name.stem, name.kind) == (stem, "csv") and path.is_file()


def read_kuaisar(
    con: duckdb.DuckDBPyConnection,
    folder: Path,
    account: Account,
    bounds: dict[str, int],
    out: Path,
    parts: Parts,
) -> dict[str, int]:
    """Write rec, src, items, users and social.parquet; returns the counts of repeated items and users.

    Raises DataError for missing files or columns and as ``Account.check`` does.
    """
    files = kuaisar_files(folder)
    for spec in SPECS:
        limits = bounds if spec.table in ("rec", "src") else {}
        found = []
        for path in files.get(spec.table, ()):
            blocks = functools.partial(_blocks, con, spec, path, limits)
            found.append(parts.read(path, spec.table, spec.schema, blocks, account))
            if account.files[path.name]["read"] or not spec.may_be_absent:
                account.check(path)
        put_together(found, out / f"{spec.table}.parquet", spec.schema)
    return {f"repeated_{table}": keep_first(con, table, out) for table in ("items", "users")}


def _blocks(con: duckdb.DuckDBPyConnection, spec: Spec, path: Path, bounds: dict[str, int]) -> Blocks:
    for batch, broken in read_csv(path, spec.required, spec.optional, ALIASES):
        con.register("batch", batch)
        rows = sql_runner.to_arrow(con, f"kuaisar/{spec.table}", bounds or None)
        con.unregister("batch")
        good = pc.is_null(rows["reason"])
        rejected = rows.filter(pc.invert(good)).select(REJECTED.names)
        yield rows.filter(good), pa.concat_tables([broken, rejected.cast(REJECTED)])
