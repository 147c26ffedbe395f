"""Runs Great Expectations suites on frames and writes their results. Only this module knows GX contexts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import great_expectations as gx
import pandas as pd
from great_expectations.core.expectation_validation_result import ExpectationValidationResult
from great_expectations.data_context import EphemeralDataContext
from great_expectations.data_context.types.base import DataContextConfig, InMemoryStoreBackendDefaults

from gensr_model.errors import DataError
from tasks.validate.data_docs import make_offline

_SHOWN = 3
PLACE = ["file", "line"]  # columns of raw tables with the place of a row in its file; errors show them


class Check(NamedTuple):
    """One suite, the frame that it checks, and a message per column for a failure (else GX's sample)."""

    suite: gx.ExpectationSuite
    frame: pd.DataFrame
    messages: Mapping[str, str] = {}


class Outcome(NamedTuple):
    """The number of expectations, and one sentence for each failed one."""

    expectations: int
    failures: list[str]


def run_checks(checks: list[Check], subject: str, out: Path) -> dict[str, float]:
    """Run ``examine`` and raise DataError where an expectation fails. Returns {"expectations": n, "failed": 0}.

    The error names up to three failed expectations, each with its rule, the number of failing rows and a sample.
    ``subject`` names the checked data.
    """
    total, failures = examine(checks, out)
    if failures:
        raise DataError(
            f"{len(failures)} of {total} expectations on the {subject} failed:\n- "
            + "\n- ".join(failures[:_SHOWN])
            + "\nRepair the data. The stage's data_docs/ in MLflow lists all failures."
        )
    return {"expectations": float(total), "failed": 0.0}


def examine(checks: list[Check], out: Path) -> Outcome:
    """Run ``checks``; write ``validation.json`` and the offline page ``data_docs/index.html`` into ``out``."""
    context = _context(out / "data_docs")
    failures: list[str] = []
    results: dict[str, Any] = {}
    total = 0
    for check in checks:
        outcome = _run(context, check)
        results[check.suite.name] = outcome.to_json_dict()
        total += len(outcome.results)
        failures += [_message(check, result) for result in outcome.results if not result.success]
    context.build_data_docs()
    make_offline(out / "data_docs", results, failures)
    summary = {"success": not failures, "expectations": total, "failed": len(failures), "suites": results}
    (out / "validation.json").write_text(json.dumps(summary, indent=1, default=str) + "\n", encoding="utf-8")
    return Outcome(total, failures)


def _context(docs: Path) -> EphemeralDataContext:
    """A context in memory whose only site of Data Docs is the folder ``docs``; progress bars off."""
    stores = InMemoryStoreBackendDefaults(
        init_temp_docs_sites=False
    )  # else each run leaves a folder in the system's temp
    context = gx.get_context(
        mode="ephemeral", project_config=DataContextConfig(store_backend_defaults=stores, analytics_enabled=False)
    )
    literal = str(docs).replace("$", r"\$")  # Great Expectations puts variables of the environment into its config
    context.variables.progress_bars = {"globally": False}  # type: ignore[assignment]
    context.add_data_docs_site(
        "validation",
        {
            "class_name": "SiteBuilder",
            "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
            "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": literal},
        },
    )
    return context


def _run(context: EphemeralDataContext, check: Check) -> Any:
    """Run one checkpoint of one suite on one frame: only a checkpoint reaches the Data Docs."""
    name = check.suite.name
    asset = context.data_sources.add_or_update_pandas(name).add_dataframe_asset(name)
    validation = gx.ValidationDefinition(
        name=name,
        data=asset.add_batch_definition_whole_dataframe("all"),
        suite=context.suites.add_or_update(check.suite),
    )
    form: dict[str, Any] = {"result_format": "SUMMARY", "partial_unexpected_count": _SHOWN}
    if set(PLACE) <= set(check.frame.columns):
        form["unexpected_index_column_names"] = PLACE
    checkpoint = gx.Checkpoint(
        name=name, validation_definitions=[context.validation_definitions.add_or_update(validation)], result_format=form
    )
    done = context.checkpoints.add_or_update(checkpoint).run(batch_parameters={"dataframe": check.frame})
    return next(iter(done.run_results.values()))


def _message(check: Check, result: ExpectationValidationResult) -> str:
    """One failure in one sentence: suite, column, expectation, rule, count, sample."""
    configuration = result.expectation_config
    assert configuration is not None
    column = configuration.kwargs.get("column")
    where = f"{check.suite.name}.{column}" if column else check.suite.name
    head = f"{where}: {configuration.type} ({configuration.notes})"
    if isinstance(column, str) and column in check.messages:
        return f"{head}: {check.messages[column]}"
    outcome: Any = result.to_json_dict()["result"]  # plain numbers, not numpy's
    if not outcome:
        return f"{head}: could not be evaluated: {result.exception_info}"
    if "element_count" in outcome and "unexpected_count" in outcome:
        shown = outcome.get("partial_unexpected_index_list") or outcome.get("partial_unexpected_list")
        return f"{head}: {outcome['unexpected_count']} of {outcome['element_count']} rows, for example {shown}"
    return f"{head}: observed {outcome.get('observed_value')}"
