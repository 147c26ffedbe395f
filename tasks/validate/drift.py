"""Drift: a retraining's new data compared with the champion's data, feature by feature."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pyarrow as pa

from expectations import drift as drift_suite
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.errors import DataError
from tasks.core.sql_runner import RESOURCES, run, to_arrow
from tasks.core.stage import stage
from tasks.core.work import Work
from tasks.validate.audit import open_prepared
from tasks.validate.ge_runner import Check, examine
from tasks.validate.profile import BINS
from tasks.validate.validate import connection

_REFERENCE = pa.schema([("feature", pa.string()), ("upper", pa.int64()), ("rows", pa.int64())])


def measure_drift(prepared: Path, champion_data: Path, config: PipelineConfig, out: Path) -> dict[str, float]:
    """Compare the folder ``prepared`` with the champion's ``bins.json``; write ``validation.json`` and ``data_docs/``.

    Returns ``psi/<feature>`` and ``drifted``, the number of features above ``retrain.max_psi``. With
    ``retrain.on_drift: stop`` it raises DataError, after writing, where a feature has drifted.
    """
    rule = config.retrain
    bins = json.loads((champion_data / BINS).read_text(encoding="utf-8"))
    with connection(config, out) as con:
        open_prepared(con, prepared, config.prepare)
        run(con, "drift/histogram")
        con.register("reference", pa.Table.from_pylist(bins, _REFERENCE))
        psi = {row["feature"]: float(row["psi"]) for row in to_arrow(con, "drift/psi").to_pylist()}
    if not psi:
        raise DataError(
            f"{champion_data / BINS} has no feature that measures drift, so it is from another "
            "version. Delete the champion's alias, or register a champion anew."
        )
    check = Check(drift_suite.suite(psi, rule.max_psi), pd.DataFrame([psi]))
    outcome = examine([check], out)
    if outcome.failures and rule.on_drift == "stop":
        raise DataError(
            "the data are no longer like those that the champion was trained on (retrain.on_drift is stop):\n- "
            + "\n- ".join(outcome.failures)
            + "\nLook at the new data; to train on them set retrain.on_drift to warn."
        )
    return {**{f"psi/{name}": value for name, value in psi.items()}, "drifted": float(len(outcome.failures))}


def drift_sentence(metrics: dict[str, float] | None, max_psi: float) -> str:
    """One sentence on the figures of ``measure_drift``. None means that the champion's version holds no bins."""
    if metrics is None:
        return "Data drift: unknown, the champion's version holds no profile of its data."
    features = sorted(
        ((psi, name.removeprefix("psi/")) for name, psi in metrics.items() if name.startswith("psi/")), reverse=True
    )
    above = ", ".join(f"{name} {psi:.3f}" for psi, name in features if psi > max_psi)
    if above:
        return f"Warning, data drift since the champion's data: PSI above {max_psi:g} for {above}."
    return f"Data drift since the champion's data: none, PSI at most {features[0][0]:.3f} ({features[0][1]})."


@stage(
    "drift",
    config=("prepare.negatives", "prepare.protocols", "retrain.max_psi", "retrain.on_drift"),
    resources=RESOURCES,
    artifacts=("**/*",),
)
def check_drift(work: Work, config: PipelineConfig, prepared: Path, champion_data: Path) -> dict[str, float]:
    """Compares the prepared dataset with the champion's bins. ``retrain.on_drift`` decides if drift stops the run."""
    return measure_drift(prepared, champion_data, config, work.out)
