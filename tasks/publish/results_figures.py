"""What a template of a results page may ask of the saved cells: figures, differences and words for them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
from scipy import stats

from gensr_model.config.base import TASKS
from gensr_model.errors import DataError
from gensr_model.evaluation.arithmetic import Place
from gensr_model.evaluation.cells import read_samples
from gensr_model.evaluation.comparison_table import COLUMNS
from gensr_model.evaluation.results import OURS, Column, Results
from gensr_model.reporting import paper
from gensr_model.reporting.run_facts import FULL_TABLE, RERANK
from tasks.compare.full_table import TABLES
from tasks.compare.names import block, title

STUDIES = {"rerank": RERANK, "full-ranking": FULL_TABLE}  # a cell's study, and the flow's


def bare(value: float, digits: int = 4, sign: bool = False) -> str:
    """A figure as the paper prints it: no zero before the point."""
    shown = f"{round(value, digits) + 0.0:{'+' if sign else ''}.{digits}f}"
    return shown.replace("0.", ".", 1).replace("-", "−") if abs(value) < 1 else shown.replace("-", "−")


class Figure(float):
    """A metric; as text it has four decimals."""

    def __str__(self) -> str:
        return bare(self)


class Difference(NamedTuple):
    """A paired difference and its interval; ``word`` says what the interval allows to say."""

    value: float
    low: float
    high: float
    p: float
    relative: bool = False  # a share of the other's figure

    def __str__(self) -> str:
        if self.relative:
            value, low, high = (f"{100 * x:+.1f}".replace("-", "−") for x in self[:3])
            return f"{value}% [{low}, {high}]"
        value, low, high = (bare(x, sign=True) for x in self[:3])
        return f"{value} [{low}, {high}]"

    @property
    def word(self) -> str:
        """above, below, or level with where the interval contains 0."""
        if self.low > 0:
            return "above"
        return "below" if self.high < 0 else "level with"


class Correlation(NamedTuple):
    """Spearman's rank correlation."""

    rho: Figure
    p: float
    n: int


class Figures:
    """The functions of a template. Each raises DataError where the cells do not have what it is asked for."""

    def __init__(self, results: Results, folder: Path) -> None:
        self.results, self.folder = results, folder

    def functions(self) -> dict[str, Callable[..., Any]]:
        """By the name that templates use."""
        names = "metric deviation difference change leader leads cost seeds has name systems baselines ahead place"
        more = "samples trained order correlation saved require p impossible"
        return {name: getattr(self, name) for name in f"{names} {more}".split()}

    def metric(self, dataset: str, study: str, system: str, task: str, metric: str = "ndcg_at_10") -> Figure:
        """The mean over samples and seeds."""
        return Figure(self.results.mean(Column(dataset, study, task, metric), system))

    def deviation(self, dataset: str, study: str, system: str, task: str, metric: str = "ndcg_at_10") -> Figure:
        """The standard deviation over seeds."""
        return Figure(self.results.deviation(Column(dataset, study, task, metric), system))

    def difference(self, dataset: str, study: str, a: str, b: str, task: str, metric: str = "ndcg_at_10") -> Difference:
        """a − b with its interval."""
        compared = self.results.difference(Column(dataset, study, task, metric), a, b)
        return Difference(compared.mean_difference, compared.low, compared.high, compared.p)

    def change(self, dataset: str, study: str, a: str, b: str, task: str, metric: str = "ndcg_at_5") -> Difference:
        """(a − b) / b with its interval, over the seeds that both have."""
        compared, _ = self.results.relative(Column(dataset, study, task, metric), a, b)
        return Difference(compared.mean_difference, compared.low, compared.high, compared.p, relative=True)

    def leader(self, dataset: str, study: str, task: str, metric: str = "ndcg_at_10", among: Sequence[str] = ()) -> str:
        """The best system of a column, of all of the table or of those named."""
        return self.results.leader(Column(dataset, study, task, metric), among or self.systems(study))

    def leads(
        self, dataset: str, study: str, system: str, among: Sequence[str] = (), clearly: bool = False
    ) -> list[tuple[str, str]]:
        """The columns, task and metric, of the eight in which the system is first among the others that are named.

        ``clearly``: those alone where the interval of its lead over the best other is above 0.
        """
        first: list[tuple[str, str]] = []
        for task in TASKS:
            for metric in COLUMNS:
                best = self.leader(dataset, study, task, metric, among)
                lead = self.difference(dataset, study, system, best, task, metric)
                if (lead.low if clearly else lead.value) > 0:
                    first.append((task, metric))
        return first

    def cost(self, dataset: str, study: str, system: str, field: str) -> float:
        """What it took, the mean over seeds: seconds_per_epoch, epochs, peak_memory_mb, parameters."""
        return self.results.cost(dataset, study, system, field)

    def seeds(self, dataset: str, study: str, system: str) -> int:
        """How many trainings the figures are the mean of."""
        return len(self.results.seeds(dataset, study, system))

    def has(self, dataset: str, study: str, *systems: str) -> bool:
        """Whether each of these systems has ranks."""
        return self.results.has(dataset, study, *systems)

    def name(self, dataset: str, study: str, system: str) -> str:
        """What people call a system; one with a setting by that, too."""
        cells = self.results.cells(dataset, study, system)
        if cells and cells[0].record.converted_from:
            return cells[0].record.title
        base, _, setting = system.partition("@")
        shown = cells[0].record.title if cells else title(base)
        return f"{shown}, preset `{setting}`" if setting else shown

    def systems(self, study: str) -> list[str]:
        """All systems of a study's table."""
        return list(TABLES[STUDIES[study]].every())

    def baselines(self, study: str, *kinds: str) -> list[str]:
        """The systems that are neither GenSR nor two heads: of some kinds, ``reference`` or ``search``, or all."""
        ours = (OURS, "two_head")
        return [n for n in self.systems(study) if n not in ours and (not kinds or block(n) in kinds)]

    def ahead(self, dataset: str, study: str, system: str, task: str, among: Sequence[str] = ()) -> list[str]:
        """The systems, of all or those named, whose N@10 is above that of this one."""
        column = Column(dataset, study, task)
        ranked = [n for n in among or self.systems(study) if n != system and self.results.ranks(column, n)]
        return [n for n in ranked if self.results.mean(column, n) > self.results.mean(column, system)]

    def place(self, dataset: str, study: str, system: str, task: str, among: Sequence[str]) -> str:
        """Its place by N@10 of those among them that rank the task: ``3 of 12``."""
        ranked = [n for n in {*among, system} if self.results.ranks(Column(dataset, study, task), n)]
        return f"{len(self.ahead(dataset, study, system, task, ranked)) + 1} of {len(ranked)}"

    def trained(self, dataset: str, study: str, without: Sequence[str] = ()) -> str:
        """How many systems of a table have ranks: ``27 of 30``."""
        named = [name for name in self.systems(study) if name not in without]
        return f"{sum(self.has(dataset, study, name) for name in named)} of {len(named)}"

    def samples(self, dataset: str, task: str) -> str:
        """How many test samples a task has."""
        tasks = read_samples(self.results.root / dataset)["task"].to_pylist()
        return f"{tasks.count(task):,}"

    def order(self, dataset: str, task: str, data: str) -> Correlation:
        """Spearman's ρ of the paper's N@10 on its ``data`` with ours, re-ranking, over the systems that both have."""
        theirs = {row: figures[3] for row, figures in paper.RANKING[data][task].items()}
        column = Column(dataset, "rerank", task)
        both = [n for n in self.systems("rerank") if title(n) in theirs and self.results.ranks(column, n)]
        pairs = [(self.results.mean(column, name), theirs[title(name)]) for name in both]
        if len(pairs) < 4:
            raise DataError(f"{dataset}: {len(pairs)} systems are in the paper's table of {task}, too few for an order")
        return self.correlation(*zip(*pairs, strict=True))

    def correlation(self, a: Sequence[float], b: Sequence[float]) -> Correlation:
        """Spearman's ρ of two series."""
        rho, p = stats.spearmanr(a, b)
        return Correlation(Figure(rho), float(p), len(a))

    def saved(self, name: str) -> Any:
        """``docs/results/<name>``: the content of a JSON file, or the columns of a Parquet file, as of a sweep."""
        path = self.folder / name
        return (
            json.loads(path.read_text(encoding="utf-8")) if path.suffix == ".json" else pq.read_table(path).to_pydict()
        )

    def p(self, value: float) -> str:
        """A p value in words: ``p < .001`` or ``p .023``."""
        return "p < .001" if value < 0.001 else f"p {bare(value, 3)}"

    def impossible(self, table: str) -> tuple[int, int]:
        """Cells of the paper's Tables 2 and 3 ("ranking") or 4 ("catalogue") that no ranking can give, and all."""
        verdicts: list[Place] = [verdict for *_, verdict in paper.papers_cells(
            {"ranking": paper.RANKING, "catalogue": paper.FULL_RANKING}[table])]  # fmt: skip
        return verdicts.count("outside"), len(verdicts)

    def require(self, holds: bool, what: str = "") -> str:
        """Nothing, where a sentence holds; DataError where the ranks say otherwise."""
        if not holds:
            raise DataError(f"the ranks do not say so{what and f': {what}'}. Write the sentence anew")
        return ""
