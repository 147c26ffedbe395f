"""Stage prepare: reads ``raw/``, writes the prepared dataset of DESIGN §3 (queries, k-core, split, candidates)."""

from __future__ import annotations

import json
import shutil
from importlib import metadata
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from gensr_model.config.base import TASKS, digest
from gensr_model.config.data import PrepareConfig
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.errors import DataError
from tasks.core.sql_runner import connect, run
from tasks.core.stage import stage
from tasks.core.work import Work
from tasks.prepare import schemas as files
from tasks.prepare.candidates import draw_candidates

SCHEMA_VERSION = 1
# Fields of ``prepare`` that decide the output; the others say what DuckDB may use, and change no byte of it.
DECIDING = tuple(name for name in PrepareConfig.model_fields if name not in ("memory_limit", "threads"))
PREPARE_FIELDS = tuple(f"prepare.{field}" for field in DECIDING)
_RAW_TABLES = {"amazon": ("reviews", "items"), "kuaisar": ("rec", "src", "items")}
_EVAL_SPLITS = ("valid", "test")


def build_prepared(raw: Path, config: PipelineConfig, out: Path) -> None:
    """Fill the empty folder ``out`` with the prepared dataset made from the folder ``raw``.

    The same ``raw``, ``config.prepare`` and ``config.seed`` give byte-identical Parquet files. Raises DataError where
    the data cannot be trained or evaluated on: filters that leave nothing, a split without samples of a task, no
    query, a catalogue too small for the candidates.
    """
    raw_manifest = _raw_manifest(raw, config)
    temp = out / "duckdb-temp"
    counts: dict[str, Any] = {}
    with connect(config.prepare, temp) as con:
        _open_raw(con, raw, config)
        _interactions(con, config, counts)
        _filter(con, config, counts)
        run(con, "prepared/item_rows")
        if config.format == "amazon":
            _search_events(con, config, counts)
        run(con, f"{config.format}/item_text")
        for step in ("users", "items", "queries", "events"):
            run(con, f"prepared/{step}")
        run(con, f"{config.format}/event_split")
        for step in ("samples", "graph", "met"):
            run(con, f"prepared/{step}")
        _require_samples(con, config, counts)
        _write_tables(con, out, counts)
        if config.format == "amazon":
            path, schema = out / "item_queries.parquet", files.TABLES["item_queries"]
            rows = files.rows_of(con, "amazon/files/item_queries")
            counts["item_queries"] = files.write(path, schema, rows)
        for split in _EVAL_SPLITS:
            path = out / f"candidates_{split}.parquet"
            counts[f"candidates_{split}"] = draw_candidates(con, split, config.prepare, config.seed, path)
        later_share = files.one_row(con, "prepared/later_share")["later_share"]
    shutil.rmtree(temp, ignore_errors=True)
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "code_version": metadata.version("gensr"),
        "format": config.format,
        "name": config.name,
        "seed": config.seed,
        "config": {name: getattr(config.prepare, name) for name in DECIDING},
        "raw_digest": digest(raw_manifest["files"]),
        "raw_files": raw_manifest["files"],
        "counts": counts,
        "split": {
            "rule": "leave one purchase out" if config.format == "amazon" else "by day in Asia/Shanghai",
            "leave_one_out_later_share": later_share,
        },
    }
    (out / "manifest.json").write_text(
        json.dumps(manifest, indent=1, sort_keys=True) + "\n", encoding="utf-8"
    )


def _raw_manifest(raw: Path, config: PipelineConfig) -> dict[str, Any]:
    path = raw / "manifest.json"
    if not path.is_file():
        raise DataError(
            f"{raw}: no manifest.json, so this is no folder that ingest completed; run ingest again"
        )
    manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if manifest.get("format") != config.format:
        raise DataError(
            f"{path}: the raw folder has format {manifest.get('format')!r} but the config says {config.format!r}; "
            "set `format` to that of the files"
        )
    return manifest


def _open_raw(con: duckdb.DuckDBPyConnection, raw: Path, config: PipelineConfig) -> None:
    """The raw files as views ``raw_<table>``, each with ``file_row_number``."""
    for table in _RAW_TABLES[config.format]:
        path = raw / f"{table}.parquet"
        if not path.is_file():
            raise DataError(
                f"{path}: missing; a raw folder of format {config.format} has it, run ingest again"
            )
        con.read_parquet(str(path), file_row_number=True).create_view(f"raw_{table}")


def _interactions(con: duckdb.DuckDBPyConnection, config: PipelineConfig, counts: dict[str, Any]) -> None:
    """Table ``interactions``: the engaged rows, each once."""
    if config.format == "amazon":
        run(con, "amazon/interactions")
        counts["read"] = files.one_row(con, "amazon/read_counts")
    else:
        for step in ("rec_rows", "src_rows", "interactions"):
            run(con, f"kuaisar/{step}")
        counts["read"] = files.one_row(con, "kuaisar/read_counts")
        run(con, "kuaisar/drop_rows")
    if files.one_row(con, "prepared/size")["interactions"] == 0:
        raise DataError(
            f"no engaged row (a purchase, click = 1, click_cnt > 0) in the raw tables; read: {counts['read']}. "
            "Check that the source folder holds the interactions of this format"
        )


def _filter(con: duckdb.DuckDBPyConnection, config: PipelineConfig, counts: dict[str, Any]) -> None:
    """Cut ``interactions`` to users with both behaviors (KuaiSAR) and to the k-core, at once a fixed point of both.

    Amazon's search events are derived from purchases afterwards, so there a purchase counts once, as in the 5-core
    files that the paper starts from.
    """
    k, both = config.prepare.min_interactions, config.format == "kuaisar"
    steps: list[dict[str, Any]] = []

    def keep(step: str, name: str, params: dict[str, Any] | None = None) -> bool:
        """One step of the filter; False once it removes nothing."""
        run(con, name, params)
        steps.append({"step": step, **files.one_row(con, "prepared/size")})
        return bool(steps[-1]["interactions"] < steps[-2]["interactions"])

    steps.append({"step": "read", **files.one_row(con, "prepared/size")})
    if both:
        keep("users with both behaviors", "prepared/both_behaviors")
    start, core = steps[-1], {"k": k, "both_behaviors": both}
    while keep(f"k-core of {k}, round {len(steps) - steps.index(start)}", "prepared/k_core_step", core):
        pass
    end = steps[-1]
    if end["interactions"] == 0:
        shown = "; ".join(f"{s['step']}: {s['users']} users, {s['items']} items" for s in steps)
        raise DataError(
            f"the filters leave no interaction. {shown}. Lower prepare.min_interactions (now {k}) or bring more data"
            + (" with users who both searched and clicked recommendations" if both else "")
        )
    counts["filter"] = {
        "steps": steps,
        "users_without_both_behaviors": steps[0]["users"] - start["users"],
        "users_removed_by_k_core": start["users"] - end["users"],
        "items_removed_by_k_core": start["items"] - end["items"],
    }


def _search_events(con: duckdb.DuckDBPyConnection, config: PipelineConfig, counts: dict[str, Any]) -> None:
    """Amazon: add the search events, one query of the item drawn for each purchase (Ai et al. 2017)."""
    for step in ("stop_words", "item_paths", "path_words"):
        run(con, f"amazon/{step}")
    words = [word for (word,) in run(con, "amazon/distinct_words").fetchall()]
    con.register("stems", _stems(words if config.prepare.stem_queries else []))
    run(con, "amazon/path_queries")
    run(con, "amazon/item_queries")
    run(con, "amazon/search_events", {"seed": config.seed})
    con.unregister("stems")
    made = counts["category_queries"] = files.one_row(con, "amazon/search_counts")
    if made["items_with_query"] == 0:
        raise DataError(
            f"no item has a query: of {made['items']} items, {made['items_with_path']} have a category path of "
            "two or more levels, and none of those has a word that is not a stop word. Queries are made of category "
            "paths: check the field `categories` of the metadata file"
        )


def _stems(words: list[str]) -> pa.Table:
    """(word, stem) of each distinct word, by the English Snowball stemmer."""
    if not words:
        return pa.table({"word": pa.array([], pa.string()), "stem": pa.array([], pa.string())})
    import snowballstemmer

    return pa.table({"word": words, "stem": snowballstemmer.stemmer("english").stemWords(words)})


def _require_samples(con: duckdb.DuckDBPyConnection, config: PipelineConfig, counts: dict[str, Any]) -> None:
    """Count the samples of each split and task; DataError for one that is empty."""
    found = {
        (split, task): {"samples": samples, "empty_history": empty}
        for split, task, samples, empty in run(con, "prepared/sample_counts").fetchall()
    }
    none = {"samples": 0, "empty_history": 0}
    splits = ("train", *_EVAL_SPLITS)
    counts["samples"] = {s: {t: found.get((s, t), none) for t in TASKS} for s in splits}
    missing = [f"{s}/{t}" for s in splits for t in TASKS if (s, t) not in found]
    if missing:
        rule = (
            "the last purchase of a user with at least three is test, the one before valid"
            if config.format == "amazon"
            else "the last day in Asia/Shanghai is test, the day before valid, earlier days train"
        )
        have = ", ".join(f"{s}/{t}: {counts['samples'][s][t]['samples']}" for s in splits for t in TASKS)
        raise DataError(
            f"no samples for {', '.join(missing)} ({rule}); samples: {have}. Bring data that covers it"
        )


def _write_tables(con: duckdb.DuckDBPyConnection, out: Path, counts: dict[str, Any]) -> None:
    for table in ("items", "users", "queries", "events", "graph"):
        batches = files.rows_of(con, f"prepared/files/{table}")
        counts[table] = files.write(out / f"{table}.parquet", files.TABLES[table], batches)
    for split in ("train", *_EVAL_SPLITS):
        batches = files.rows_of(con, "prepared/files/samples", {"split": split})
        counts[f"samples_{split}"] = files.write(out / f"samples_{split}.parquet", files.SAMPLES, batches)


@stage(
    "prepare",
    code=("tasks/prepare/prepare.py", "sql/amazon", "sql/kuaisar", "sql/prepared"),
    config=("name", "format", *PREPARE_FIELDS, "seed"),
    artifacts=("manifest.json",),
)
def prepare(work: Work, config: PipelineConfig, raw: Path) -> None:
    """Reads ``raw/``; writes the prepared dataset: queries, k-core, splits, frozen candidates."""
    build_prepared(raw, config, work.out)
