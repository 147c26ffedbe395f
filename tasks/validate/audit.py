"""Audits of a prepared folder: every query in ``sql/audit`` returns the rows that violate a rule of the dataset.

Standalone, on any prepared folder: ``gensr audit FOLDER``. It prints each audit with the number of violating rows, and
further figures that are no violation. The exit status is 0 only without violations.
"""

from __future__ import annotations

import functools
import itertools
import json
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pyarrow as pa

from gensr_model.config.base import SEARCH_ONLY, SHOWN
from gensr_model.config.data import PrepareConfig
from gensr_model.errors import DataError
from tasks.core.cluster import Cluster
from tasks.core.dataset_format import DatasetFormat, dataset_format
from tasks.core.sql_runner import connect, open_parquet, query, run
from tasks.prepare import schemas as files

_SHOWN = 5
_VIEWS = ("samples", "candidates", "user_ranges", "never_negative")
_VIEWS_BY_RULE = ("moments", "sample_moments")  # of prepare.same_time
#: The queries of ``sql/audit``, in the order in which they run and are shown.
AUDITS = (
    "event_out_of_order",
    "history_not_before_sample",
    "history_misses_event",
    "duplicate_event",
    "query_of_wrong_behavior",
    "sample_without_event",
    "target_in_history",
    "candidate_repeated",
    "candidate_met",
    "candidate_is_target",
    "candidate_count",
    "candidate_misaligned",
    "unresolved_id",
    "index_not_row",
    "sample_in_two_splits",
    "twin_in_other_split",
    "split_against_time",
    "target_never_negative",
    "graph_holds_target",
    "graph_differs",
    "impression_without_event",
    "impression_repeated",
    "candidate_not_shown",
)
_FIGURES = (
    "prepared/later_share",
    "audit/figures/query_in_text",
    "audit/figures/repeated_targets",
    "audit/figures/same_time",
)


class AuditResult(NamedTuple):
    """One audit: its name, the number of violating rows (0 on a good dataset), and up to five of them."""

    name: str
    violations: int
    sample: list[dict[str, Any]]


class Figure(NamedTuple):
    """A figure that is printed and never fails: a query, its meaning, and its one row."""

    name: str
    rule: str
    values: dict[str, float | None]


def audit_rule(name: str) -> str:
    """The rule that the audit checks: the comment at the start of its file."""
    return _comment(f"audit/{name}")


def rules(entry: DatasetFormat) -> dict[str, str]:
    """The comments of queries that reports show: of every audit, and of the figures, with the format's own."""
    audits = tuple(f"audit/{name}" for name in AUDITS)
    return {name: _comment(name) for name in (*audits, *_FIGURES, *entry.preparing.figures)}


def _comment(name: str) -> str:
    lines = query(name).splitlines()
    comment = itertools.takewhile(lambda line: line.startswith("--"), lines)
    return " ".join(line.removeprefix("--").strip() for line in comment)


def open_prepared(con: duckdb.DuckDBPyConnection, prepared: Path, config: PrepareConfig) -> None:
    """A view per file, with ``file_row_number``, and the views that audits share. Raises DataError for a missing file.

    The folder's manifest names the rule of ``prepare.same_time`` by which audits check histories.
    """
    same_time = _manifest_config(prepared)[1].same_time
    for table in files.TABLES:
        path = prepared / f"{table}.parquet"
        if path.is_file():
            open_parquet(con, path, file_row_number=True).create_view(table)
        elif table in files.OPTIONAL:
            con.register(table, files.TABLES[table].empty_table())
        else:
            raise DataError(f"{path} is missing, so this is no complete prepared dataset. Run prepare again.")
    con.register("settings", pa.table({"negatives": [config.negatives]}))
    drawn = [
        {"protocol": name, "searches_only": name in SEARCH_ONLY, "may_be_short": name == SHOWN}
        for name in config.protocols
    ]
    con.register("protocols", pa.Table.from_pylist(drawn))
    for name in _VIEWS:
        run(con, f"audit/views/{name}")
    for name in _VIEWS_BY_RULE:
        run(con, f"audit/views/{same_time}/{name}")


def run_audits(con: duckdb.DuckDBPyConnection) -> list[AuditResult]:
    """Run every audit on the views of ``open_prepared``, in the order of ``AUDITS``."""
    return [_audit(con, name) for name in AUDITS]


def audits_on(cluster: Cluster, prepared: Path, config: PrepareConfig) -> list[AuditResult]:
    """Run every audit on the workers of a cluster, in the order of ``AUDITS``. They see the folder ``prepared``."""
    return list(cluster.map(functools.partial(_audit_apart, prepared, config), AUDITS))


def _audit_apart(prepared: Path, config: PrepareConfig, name: str) -> AuditResult:
    with tempfile.TemporaryDirectory() as temp, connect(config, Path(temp)) as con:
        open_prepared(con, prepared, config)
        return _audit(con, name)


def _audit(con: duckdb.DuckDBPyConnection, name: str) -> AuditResult:
    violations, sample = 0, list[dict[str, Any]]()
    for batch in con.sql(query(f"audit/{name}")).to_arrow_reader():
        violations += batch.num_rows
        if len(sample) < _SHOWN:
            sample += batch.slice(0, _SHOWN - len(sample)).to_pylist()
    return AuditResult(name, violations, sample)


def audit_figures(con: duckdb.DuckDBPyConnection, entry: DatasetFormat) -> list[Figure]:
    """The figures on the views of ``open_prepared``, with the format's own. A share of nothing is None."""
    names = _FIGURES + entry.preparing.figures
    return [Figure(name.rsplit("/")[-1], _comment(name), files.one_row(con, name)) for name in names]


def report(results: list[AuditResult], figures: list[Figure]) -> str:
    """Results and figures as text: a line per audit, its violating rows below it, then the figures."""
    lines = [f"{'audit':<34} {'rows':>8}", "-" * 43]
    for result in results:
        lines.append(f"{result.name:<34} {result.violations:>8}")
        if result.violations:
            lines.append(f"    {audit_rule(result.name)}")
            lines += [f"    {row}" for row in result.sample]
    broken = sum(result.violations > 0 for result in results)
    lines += ["", f"{len(results)} audits, {broken} broken", "", "Figures (never a failure)"]
    for figure in figures:
        lines += ["", f"{figure.name}: {figure.rule}"]
        lines += [f"    {name:<28} {_shown(value):>10}" for name, value in figure.values.items()]
    return "\n".join(lines)


def _shown(value: float | None) -> str:
    if value is None:
        return "none"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def audit_by_itself(prepared: Path) -> tuple[list[AuditResult], list[Figure]]:
    """Audits and figures of a folder by its manifest. Raises DataError where it is no complete prepared dataset."""
    name, config = _manifest_config(prepared)
    entry = dataset_format(name)
    with tempfile.TemporaryDirectory() as temp, connect(config, Path(temp)) as con:
        open_prepared(con, prepared, config)
        return run_audits(con), audit_figures(con, entry)


def _manifest_config(prepared: Path) -> tuple[str, PrepareConfig]:
    """Format and config of ``prepare`` in the manifest of a prepared folder. Raises DataError where it has none."""
    path = prepared / "manifest.json"
    if not path.is_file():
        raise DataError(
            f"{path} is missing, so this is no complete prepared dataset. Name the folder that prepare wrote."
        )
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        return manifest["format"], PrepareConfig.model_validate(manifest["config"])
    except (ValueError, KeyError) as error:  # JSON's and pydantic's errors are ValueErrors
        raise DataError(f"{path} is no manifest of a dataset of this version: {error}. Prepare again.") from error
