"""Audits of a prepared folder: every ``sql/audit`` query returns the rows that break a promise of DESIGN §3."""

from __future__ import annotations

import itertools
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pyarrow as pa

from gensr_model.config import PrepareConfig
from gensr_model.errors import DataError
from tasks import prepared_files as files
from tasks.duck import connect, query, run

_SHOWN = 5
_VIEWS = ("00_samples", "01_candidates", "02_user_ranges")


class AuditResult(NamedTuple):
    """One audit: its name, how many rows break it (0 on a good dataset), and up to five of them."""

    name: str
    violations: int
    sample: list[dict[str, Any]]


def audit_names() -> list[str]:
    """The files of ``sql/audit`` that are audits, in order, without ``.sql``."""
    found = (f.name for f in resources.files("sql").joinpath("audit").iterdir())
    return sorted(name[:-4] for name in found if name.endswith(".sql") and name[:-4] not in _VIEWS)


def audit_rule(name: str) -> str:
    """What the audit looks for: the comment that its file starts with."""
    lines = query(f"audit/{name}").splitlines()
    comment = itertools.takewhile(lambda line: line.startswith("--"), lines)
    return " ".join(line.removeprefix("--").strip() for line in comment)


def audit_folder(prepared: Path, config: PrepareConfig, temp: Path) -> list[AuditResult]:
    """Run every audit on the folder ``prepared``; ``temp`` is where DuckDB may spill.

    Raises DataError for a file of the folder that is missing. Violations are returned, not raised.
    """
    with connect(config, temp) as con:
        open_prepared(con, prepared, config)
        return run_audits(con)


def open_prepared(con: duckdb.DuckDBPyConnection, prepared: Path, config: PrepareConfig) -> None:
    """A view per file, with ``file_row_number``, and the views that audits share; DataError for a missing file."""
    for table in files.TABLES:
        path = prepared / f"{table}.parquet"
        if path.is_file():
            con.read_parquet(str(path), file_row_number=True).create_view(table)
        elif table in files.OPTIONAL:
            con.register(table, files.TABLES[table].empty_table())
        else:
            raise DataError(f"{path}: missing; this is no complete prepared dataset, run prepare again")
    con.register("settings", pa.table({"negatives": [config.negatives]}))
    for name in _VIEWS:
        run(con, f"audit/{name}")


def run_audits(con: duckdb.DuckDBPyConnection) -> list[AuditResult]:
    """Every audit on what ``open_prepared`` opened, in the order of their files."""
    return [_audit(con, name) for name in audit_names()]


def _audit(con: duckdb.DuckDBPyConnection, name: str) -> AuditResult:
    violations, sample = 0, list[dict[str, Any]]()
    for batch in con.sql(query(f"audit/{name}")).to_arrow_reader():
        violations += batch.num_rows
        if len(sample) < _SHOWN:
            sample += batch.slice(0, _SHOWN - len(sample)).to_pylist()
    return AuditResult(name, violations, sample)
