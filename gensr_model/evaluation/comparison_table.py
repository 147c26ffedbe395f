"""Tables 2 and 3 of the paper for our data: every system on the same lists, as means over seeds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from gensr_model.config.base import TASKS
from gensr_model.evaluation.metrics import METRICS, of_task, per_sample

COLUMNS = {"recall_at_5": "R@5", "recall_at_10": "R@10", "ndcg_at_5": "N@5", "ndcg_at_10": "N@10"}  # the paper's
SIGNIFICANT = 0.01  # the paper's star


def seeds_text(counts: Iterable[int]) -> str:
    """The number of seeds behind a table's means, in words, from the number of each trained system."""
    distinct = set(counts) or {1}
    least, most = min(distinct), max(distinct)
    if most == 1:
        return "1 seed"
    return f"mean of {most} seeds" if least == most else f"means of {least} to {most} seeds"


def means(ranks: Mapping[str, Sequence[pa.Table]]) -> list[dict[str, Any]]:
    """One row per (task, system, metric): mean and standard deviation over seeds, number of seeds and test samples.

    Args:
        ranks: ranks tables of every system, one per seed. The deviation of one seed is NaN.
    """
    rows = []
    for task in TASKS:
        for name, tables in ranks.items():
            tables_of_task = [of_task(table, task) for table in tables]
            if not tables_of_task or not tables_of_task[0].num_rows:
                continue
            for metric in METRICS:
                values = [float(per_sample(table, metric).mean()) for table in tables_of_task]
                deviation = float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")
                row = {"task": task, "system": name, "metric": metric, "mean": float(np.mean(values))}
                rows.append(row | {"deviation": deviation, "seeds": len(values), "samples": tables_of_task[0].num_rows})
    return rows
