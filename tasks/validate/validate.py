"""Stage validate: Great Expectations on the raw tables, on the prepared dataset and on the audits of its rules.

DuckDB reads the tables and passes plain frames, because its SQLAlchemy engine fails in Great Expectations. A table
above ``FRAME_ROWS`` rows is checked at every n-th row. Rules for every row are audits, in SQL.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
from great_expectations import ExpectationSuite

from expectations import audits as audit_suite
from expectations import (
    prepared_candidates,
    prepared_events,
    prepared_items,
    prepared_samples,
    raw_described,
    raw_reading,
)
from gensr_model.config.base import SHOWN
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.errors import DataError
from tasks.core.cluster import connected
from tasks.core.dataset_format import dataset_format, open_raw
from tasks.core.sql_runner import RESOURCES, connect, query
from tasks.core.stage import stage
from tasks.core.work import Work
from tasks.evaluate.run_data import data_tasks
from tasks.ingest.described import USED, WITHOUT
from tasks.ingest.rejects import time_bounds
from tasks.prepare import schemas as files
from tasks.validate import profile
from tasks.validate.audit import (
    AuditResult,
    audit_figures,
    audit_rule,
    audits_on,
    open_prepared,
    rules,
    run_audits,
)
from tasks.validate.ge_runner import PLACE, Check, run_checks

FRAME_ROWS = 1_000_000
_BEHAVIORS: dict[str, str] = {"recommendation": "rec", "search": "src"}


def validate_raw(raw: Path, config: PipelineConfig, out: Path) -> dict[str, float]:
    """Check the folder ``raw``; write ``validation.json``, ``profile.json`` and ``data_docs/`` into the folder ``out``.

    Returns the number of expectations and of failed ones (0). Raises DataError, after writing, that names each failed
    expectation with its count and a sample. Raises DataError for a missing table too.
    """
    earliest, latest = _credible_times(config)
    entry = dataset_format(config.format)
    with connection(config, out) as con:
        tables = open_raw(con, raw, entry)
        suites = entry.suites(earliest, latest)
        checks = [Check(suite, _raw_frame(con, table, suite)) for table, suite in suites.items()]
        profile.write_profile(con, list(tables), out)
    manifest = _raw_manifest(raw)
    checks.append(Check(raw_reading.suite(), _reading(manifest)))
    checks += _described(manifest.get("notes", {}), config.ingest.max_undescribed_share)
    return run_checks(checks, "raw data", out)


def validate_prepared(prepared: Path, config: PipelineConfig, out: Path) -> dict[str, float]:
    """Check the folder ``prepared`` and run its audits; write the reports into the folder ``out``.

    The reports are ``validation.json``, ``audits.json``, ``profile.json``, ``bins.json`` (for drift) and
    ``data_docs/``.

    Returns the number of expectations, of failed ones (0), and the audits' figures as ``audit/<query>/<figure>``, such
    as the share of training purchases later than a test purchase. Raises DataError as ``validate_raw`` does.
    """
    earliest, latest = _credible_times(config)
    tasks, most = data_tasks(prepared), config.prepare.negatives
    suites = {
        "items": prepared_items.suite(),
        "events": prepared_events.suite(earliest, latest, [_BEHAVIORS[task] for task in tasks]),
        **{f"samples_{split}": prepared_samples.suite(split, tasks) for split in ("train", "valid", "test")},
        **{
            f"candidates_{split}": prepared_candidates.suite(
                split, most, config.prepare.protocols, 1 if SHOWN in config.prepare.protocols else most
            )
            for split in ("valid", "test")
        },
    }
    with connection(config, out) as con, connected(config.prepare.dask, "prepare.dask", out) as cluster:
        open_prepared(con, prepared, config.prepare)
        checks = [Check(suite, _frame(con, table)) for table, suite in suites.items()]
        results = run_audits(con) if cluster is None else audits_on(cluster, prepared, config.prepare)
        figures = audit_figures(con, dataset_format(config.format))
        profile.write_profile(con, list(files.TABLES), out)
        profile.write_bins(con, out)
    checks.append(_audits(results))
    report = {"audits": [r._asdict() for r in results], "figures": [f._asdict() for f in figures]}
    (out / "audits.json").write_text(json.dumps(report, indent=1, default=str) + "\n", encoding="utf-8")
    metrics = {f"audit/{f.name}/{n}": float(v) for f in figures for n, v in f.values.items() if v is not None}
    return {**run_checks(checks, "prepared dataset", out), **metrics}


def _audits(results: list[AuditResult]) -> Check:
    suite = audit_suite.suite({result.name: audit_rule(result.name) for result in results})
    frame = pd.DataFrame([{result.name: result.violations for result in results}])
    messages = {r.name: f"{r.violations} rows, for example {r.sample}" for r in results if r.violations}
    return Check(suite, frame, messages)


@contextlib.contextmanager
def connection(config: PipelineConfig, out: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """DuckDB within the config's limits. Its spill files in the folder ``out`` are deleted at the end."""
    temp = out / "duckdb-temp"
    with connect(config.prepare, temp) as con:
        yield con
    shutil.rmtree(temp, ignore_errors=True)


def _frame(con: duckdb.DuckDBPyConnection, table: str) -> pd.DataFrame:
    """The rows of ``sql/validate/<table>.sql``, at most ``FRAME_ROWS`` of the table."""
    rows = con.table(table).shape[0]
    every = -(-rows // FRAME_ROWS) or 1
    frame: pd.DataFrame = con.sql(query(f"validate/{table}"), params={"every": every}).df()
    return frame


def _raw_frame(con: duckdb.DuckDBPyConnection, table: str, suite: ExpectationSuite) -> pd.DataFrame:
    """The columns of a raw table that its suite checks, and the place of each row in its file; texts may be large."""
    relation = con.table(f"raw_{table}")
    checked = {expectation.column for expectation in suite.expectations if hasattr(expectation, "column")}
    names = [name for name in relation.columns if name in checked.union(PLACE, ["file_row_number"])]
    relation.select(*map(duckdb.ColumnExpression, names)).create_view("raw_columns", replace=True)
    return _frame(con, "raw_columns")


def _described(notes: dict[str, int], max_share: float) -> list[Check]:
    """Check the share of undescribed items, where the format counts them."""
    if not notes.get(USED):
        return []
    used, without = notes[USED], notes[WITHOUT]
    message = (
        f"{without:,} of {used:,} items of the events ({without / used:.1%}) have no row in the item file, and at most "
        f"{max_share:.1%} may have none. Bring the item file of these events, or raise ingest.max_undescribed_share"
    )
    frame = pd.DataFrame([{"undescribed_share": without / used}])
    return [Check(raw_described.suite(max_share), frame, {"undescribed_share": message})]


def _raw_manifest(raw: Path) -> dict[str, Any]:
    path = raw / "manifest.json"
    if not path.is_file():
        raise DataError(f"{path} is missing, so this is no folder that ingest completed. Run ingest again.")
    manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return manifest


def _reading(manifest: dict[str, Any]) -> pd.DataFrame:
    parts = [manifest, *manifest["files"]]
    return pd.DataFrame([{"read": p["read"], "accounted": p["accepted"] + p["rejected"]} for p in parts])


def _credible_times(config: PipelineConfig) -> tuple[int, int]:
    """(earliest, latest), ms since 1970 UTC.

    These are ingest's bounds, so rows that ingest accepts do not fail here.
    """
    bounds = time_bounds(config.ingest.earliest)
    return bounds["earliest"], bounds["latest"]


@stage(
    "validate-raw",
    config=("format", "ingest.earliest", "ingest.max_undescribed_share"),
    resources=RESOURCES,
    artifacts=("**/*",),
    format_parts=("suites", "preparing.tables"),
)
def check_raw(work: Work, config: PipelineConfig, raw: Path) -> dict[str, float]:
    """Reads ``raw/``; writes results and Data Docs. A failed expectation stops the run before the long stages."""
    return validate_raw(raw, config, work.out)


@stage(
    "validate",
    config=("format", "ingest.earliest", "prepare.negatives", "prepare.protocols"),
    resources=RESOURCES,
    artifacts=("**/*",),
    format_parts=("preparing.figures",),
    facts=lambda config: {"rules": rules(dataset_format(config.format))},
)
def check_prepared(work: Work, config: PipelineConfig, prepared: Path) -> dict[str, float]:
    """Reads the prepared dataset; audits its rules, writes results and Data Docs. A failure stops the run."""
    return validate_prepared(prepared, config, work.out)
