"""Figures of saved cells: means over seeds and paired differences with intervals, each computed at its first use.

A system has the name of its cells, ``gensr`` or ``gensr@laptop``. Where a name has no cell, cells of the setting
``earlier`` (``gensr@earlier``, ``gensr@laptop-earlier``) replace it: ranks of an older command.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gensr_model.config.base import TASKS
from gensr_model.errors import DataError
from gensr_model.evaluation.cells import Cell, read_cells, read_samples
from gensr_model.evaluation.compare import Comparison, paired_t
from gensr_model.evaluation.metrics import METRICS, of_task, per_sample
from gensr_model.evaluation.resampling import IntArray, drawn_counts, number_users

FloatArray = npt.NDArray[np.float64]
EARLIER = "earlier"
OURS = "gensr"


class Column(NamedTuple):
    """A column of a results table."""

    dataset: str
    study: str
    task: str
    metric: str = "ndcg_at_10"


class _Users:
    """The test users of a task, resampled once for all figures of the task.

    Args:
        numbers: (n,) the user of each sample, from 0.
        counts: (resamples, users) how often each user is drawn.
    """

    def __init__(self, numbers: IntArray, counts: npt.NDArray[np.int16]) -> None:
        self.numbers, self._counts = numbers, counts
        self.users = counts.shape[1]
        self._sizes = self._totals(np.bincount(numbers, minlength=self.users))

    def means(self, values: FloatArray) -> FloatArray:
        """(resamples,) the mean of values (n,) over each resample."""
        return self._totals(np.bincount(self.numbers, weights=values)) / self._sizes

    def _totals(self, by_user: npt.NDArray[Any]) -> FloatArray:
        # Converted to floats in small parts: 2,000 resamples of 20,000 users would take 320 MB.
        parts = [self._counts[start : start + 200] @ by_user for start in range(0, len(self._counts), 200)]
        return np.concatenate(parts)


class Results:
    """The cells below a folder. Raises DataError, naming what is missing, for a figure without a cell."""

    def __init__(self, root: Path, resamples: int = 2_000, confidence: float = 0.95, seed: int = 0) -> None:
        self.root, self.resamples, self.confidence, self.seed = root, resamples, confidence, seed
        self._users: dict[tuple[str, str], _Users] = {}
        self._values: dict[tuple[Column, str], FloatArray] = {}
        self.used: set[Path] = set()  # the files of all cells that a figure read

    @cached_property
    def _cells(self) -> dict[tuple[str, str, str], list[Cell]]:
        cells: dict[tuple[str, str, str], list[Cell]] = {}
        for cell in read_cells(self.root):
            cells.setdefault((cell.record.dataset, cell.record.study, cell.record.name), []).append(cell)
        return {name: sorted(some, key=lambda cell: cell.record.seed) for name, some in cells.items()}

    def cells(self, dataset: str, study: str, name: str) -> list[Cell]:
        """The system's cells, one per seed, in the order of the seeds. Empty where there is none."""
        stand_in = f"{name}-{EARLIER}" if "@" in name else f"{name}@{EARLIER}"
        cells = self._cells.get((dataset, study, name)) or self._cells.get((dataset, study, stand_in), [])
        self.used |= {cell.path for cell in cells}
        return cells

    def has(self, dataset: str, study: str, *names: str) -> bool:
        """Whether each of these systems has a cell."""
        return all(self.cells(dataset, study, name) for name in names)

    def ranks(self, column: Column, name: str) -> bool:
        """Whether the system has a cell that ranks the task."""
        cells = self.cells(column.dataset, column.study, name)
        return bool(cells) and pc.index(cells[0].ranks["task"], column.task).as_py() >= 0

    def values(self, column: Column, name: str, seeds: Iterable[int] | None = None) -> FloatArray:
        """(n,) the metric of each sample of the task, averaged over all seeds or over the given ones."""
        key = (column, name)
        if seeds is None and key in self._values:
            return self._values[key]
        if column.metric not in METRICS or column.task not in TASKS:
            raise DataError(f"no metric {column.metric} of {column.task}; tasks: {', '.join(TASKS)}; metrics: "
                            f"{', '.join(METRICS)}")  # fmt: skip
        cells = self.cells(column.dataset, column.study, name)
        wanted = None if seeds is None else set(seeds)
        tables = [of_task(cell.ranks, column.task) for cell in cells if wanted is None or cell.record.seed in wanted]
        if not tables or not len(tables[0]):
            raise DataError(f"{column.dataset}, {column.study}: no ranks of {name} in {column.task} below {self.root}")
        values = np.mean([per_sample(table, column.metric) for table in tables], axis=0)
        if seeds is None:
            self._values[key] = values
        return np.asarray(values)

    def mean(self, column: Column, name: str) -> float:
        """The metric over all samples and seeds."""
        return float(self.values(column, name).mean())

    def deviation(self, column: Column, name: str) -> float:
        """The standard deviation of the metric over the seeds. NaN for one seed."""
        cells = self.cells(column.dataset, column.study, name)
        each = [per_sample(of_task(cell.ranks, column.task), column.metric).mean() for cell in cells]
        return float(np.std(each, ddof=1)) if len(each) > 1 else float("nan")

    def difference(self, column: Column, a: str, b: str) -> Comparison:
        """The difference a − b, as `paired_bootstrap` gives it for all seeds of both."""
        return self._compared(column, self.values(column, a) - self.values(column, b))

    def difference_from(self, column: Column, a: str, others: pa.Table) -> Comparison:
        """The difference of a from ranks that are no cell. Raises DataError where they rank other samples."""
        samples = of_task(self.cells(column.dataset, column.study, a)[0].ranks, column.task)["sample_id"]
        rows = of_task(others, column.task).sort_by("sample_id")
        if rows["sample_id"].to_pylist() != samples.to_pylist():
            raise DataError(
                f"{column.dataset}: {a} and the ranks to compare with it have different samples. Rank the "
                "samples of the cell."
            )
        return self._compared(column, self.values(column, a) - per_sample(rows, column.metric))

    def relative(self, column: Column, a: str, b: str) -> tuple[Comparison, float]:
        """(a − b) / b over the seeds that both have, its interval from `relative_change`, and b's mean."""
        shared = self.seeds(column.dataset, column.study, a) & self.seeds(column.dataset, column.study, b)
        if not shared:
            raise DataError(
                f"{column.dataset}, {column.study}: {a} and {b} have no seed in common. Train both with one seed."
            )
        ours, base = self.values(column, a, shared), self.values(column, b, shared)
        users, tested = self._users_of(column), self._compared(column, ours - base)
        low, high = self._bounds(users.means(ours) / users.means(base) - 1)
        change = float(ours.mean() / base.mean() - 1)
        return tested._replace(mean_difference=change, low=low, high=high), float(base.mean())

    def unused(self) -> list[Path]:
        """Files of cells that no figure reads."""
        return sorted(cell.path for cells in self._cells.values() for cell in cells if cell.path not in self.used)

    def seeds(self, dataset: str, study: str, name: str) -> set[int]:
        """The seeds that a system was trained with."""
        return {cell.record.seed for cell in self.cells(dataset, study, name)}

    def leader(self, column: Column, among: Iterable[str]) -> str:
        """The system with the best mean. Raises DataError where no system ranks the task."""
        ranked = [name for name in among if self.ranks(column, name)]
        if not ranked:
            raise DataError(
                f"{column.dataset}, {column.study}: no system has ranks in {column.task} yet. Train one "
                "with benchmarks.tables."
            )
        return max(ranked, key=lambda name: self.mean(column, name))

    def cost(self, dataset: str, study: str, name: str, field: str) -> float:
        """A cost of the system, the mean over its seeds. Raises DataError where a cell lacks the cost."""
        costs = [cell.record.costs.get(field) for cell in self.cells(dataset, study, name)]
        known = [cost for cost in costs if cost is not None]
        if not known or len(known) < len(costs):
            raise DataError(
                f"{dataset}, {study}: not every cell of {name} has the cost {field}. Train the missing cells again."
            )
        return sum(known) / len(known)

    def _compared(self, column: Column, difference: FloatArray) -> Comparison:
        users = self._users_of(column)
        low, high = self._bounds(users.means(difference))
        t, p = paired_t(difference, users.numbers)
        return Comparison(float(difference.mean()), low, high, t, p, len(difference), users.users)

    def _bounds(self, means: FloatArray) -> tuple[float, float]:
        tail = (1.0 - self.confidence) / 2.0
        low, high = np.quantile(means, [tail, 1.0 - tail])
        return float(low), float(high)

    def _users_of(self, column: Column) -> _Users:
        key = (column.dataset, column.task)
        if key not in self._users:
            samples = read_samples(self.root / column.dataset)
            samples = samples.filter(pc.equal(samples["task"], column.task))
            numbers = number_users(np.asarray(samples["sample_id"].to_pylist(), dtype=str), samples)
            draws = drawn_counts(int(numbers.max()) + 1, self.resamples, np.random.default_rng(self.seed))
            self._users[key] = _Users(numbers, draws)
        return self._users[key]
