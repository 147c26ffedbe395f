"""KuaiSAR's five CSV files: recommended videos and search results, each with clicks, with columns by name."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from gensr_model.config.base import SHOWN
from gensr_model.config.data import RemoteFile
from gensr_model.config.known_formats import FORMATS
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.data.synthetic import write_kuaisar
from gensr_model.errors import DataError
from tasks.core import sql_runner
from tasks.core.dataset_format import Blocks, Count, DatasetFormat, Files, Preparing, RawTable, Reading
from tasks.ingest.csv_blocks import read_csv
from tasks.ingest.described import described_items
from tasks.ingest.file_cache import csv_parts
from tasks.ingest.raw_files import WHOLE, Span
from tasks.ingest.rejects import REJECTED

if TYPE_CHECKING:
    from great_expectations import ExpectationSuite

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
        pa.schema([("item", _TEXT), ("title", _TEXT), ("category_names", pa.list_(_TEXT)), ("author", _TEXT)]),
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
WORDS = "KuaiSAR's words are anonymised numbers, as [20, 34]. Logs with real words need format logs."
ALIASES = {"reco_active_level": "rec_active_level", "search_session_source": "search_source"}


def find(folder: Path) -> Files:
    """Raw table name -> its CSV files, in ``folder`` or in the one folder below it with ``rec_inter.csv``.

    A table may come in parts: ``rec_inter.csv``, ``rec_inter.2023-06-01.csv``, ...

    Raises:
        DataError: files are missing, a part occurs twice, a file's name is almost that of a part, or ``folder`` has
            several copies of the data.
    """
    homes = sorted({path.parent for path in folder.rglob("rec_inter*.csv*") if path.is_file()})
    if folder in homes:
        homes = [folder]
    if len(homes) > 1:
        raise DataError(
            f"{folder}: several copies of KuaiSAR: {', '.join(str(home) for home in homes)}. "
            "Set source.path to the one to be read."
        )
    home = homes[0] if homes else folder
    files: dict[str, tuple[Path, ...]] = {}
    missing: list[str] = []
    for spec in SPECS:
        paths = csv_parts(home, spec.file.removesuffix(".csv"))
        if paths:
            files[spec.table] = paths
        elif not spec.may_be_absent:
            missing.append(spec.file)
    if missing:
        present = ", ".join(path.name for path in sorted(home.iterdir())[:12]) or "nothing"
        raise DataError(
            f"{home}: no {', '.join(missing)} (KuaiSAR files, unpacked or .gz). The folder holds: {present}."
        )
    return files


def blocks(
    spec: Spec, con: duckdb.DuckDBPyConnection, path: Path, bounds: dict[str, int], span: Span = WHOLE
) -> Blocks:
    """Accepted rows and rejected lines of a span of one CSV file."""
    sql_runner.run(con, "raw/no_value")
    limits = bounds if "ts" in spec.schema.names else None
    for batch, broken in read_csv(path, spec.required, spec.optional, ALIASES, span):
        con.register("batch", batch)
        rows = sql_runner.to_arrow(con, f"kuaisar/{spec.table}", limits)
        con.unregister("batch")
        good = pc.is_null(rows["reason"])
        rejected = rows.filter(pc.invert(good)).select(REJECTED.names)
        yield rows.filter(good), pa.concat_tables([broken, rejected.cast(REJECTED)])


def undescribed(con: duckdb.DuckDBPyConnection, folder: Path, files: Files) -> dict[str, int]:
    """Number of shown items that the item file does not describe."""
    return described_items(con, folder, ("rec", "src"), files["items"])


def impressions(con: duckdb.DuckDBPyConnection, config: PipelineConfig, counts: dict[str, Any]) -> None:
    """Make the tables ``shown`` and ``engaged_lists`` for the protocol ``shown``: they are as large as the raw logs."""
    del counts
    if SHOWN in config.prepare.protocols:
        sql_runner.run(con, "kuaisar/shown")
        sql_runner.run(con, "kuaisar/engaged_lists")


def suites(earliest_ms: int, latest_ms: int) -> dict[str, ExpectationSuite]:
    """Expectations that prepare relies on, by raw table."""
    from expectations import raw_items, raw_rec, raw_src

    return {
        "rec": raw_rec.suite(earliest_ms, latest_ms),
        "src": raw_src.suite(earliest_ms, latest_ms),
        "items": raw_items.suite(),
    }


# --- the entry ----------------------------------------------------------------------------------------------------

READING = Reading(
    tables=tuple(
        RawTable(
            spec.table,
            spec.schema,
            functools.partial(blocks, spec),
            spans=True,
            optional=spec.may_be_absent,
            distinct=spec.table in ("items", "users"),
        )
        for spec in SPECS
    ),
    find=find,
    marks=("rec_inter.*",),
    notes=undescribed,
    hints=dict.fromkeys(("keyword is not a list", "caption is not a list"), WORDS),
)
PREPARING = Preparing(
    tables=("rec", "src", "items"),
    interactions=(
        "kuaisar/rec_rows",
        "kuaisar/src_rows",
        "kuaisar/interactions",
        Count("read", "kuaisar/read_counts"),
        impressions,
        "kuaisar/drop_rows",
    ),
    by_user=("rec", "src"),
    item_text=("kuaisar/item_text",),
    event_split=("kuaisar/event_split",),
    days="Asia/Shanghai",
    both_behaviors=True,
)
FORMAT = DatasetFormat(
    facts=FORMATS["kuaisar"],
    reading=READING,
    preparing=PREPARING,
    suites=suites,
    # The full KuaiSAR, the paper's Table 1; its license is CC BY-NC-SA 4.0. The publisher gives no digest to pin.
    published=(RemoteFile(url="https://zenodo.org/record/8181109/files/KuaiSAR_v2.zip"),),
    generate=write_kuaisar,
)
