"""Tables of the results pages as Markdown, from saved cells."""

from __future__ import annotations

import json
from collections.abc import Sequence

from gensr_model.config.base import TASKS
from gensr_model.config.variants import VARIANTS
from gensr_model.evaluation.cells import Cell
from gensr_model.evaluation.compare import holm
from gensr_model.evaluation.comparison_table import COLUMNS, SIGNIFICANT
from gensr_model.evaluation.results import OURS, Column
from gensr_model.evaluation.saved_ranks import read_saved_ranks
from tasks.compare.names import block, title
from tasks.publish.results_figures import Difference, Figures, bare

TRAIN = "python -m benchmarks.tables --data FOLDER --only"


class Tables:
    """The tables that a template may ask for."""

    def __init__(self, figures: Figures) -> None:
        self._figures, self._results = figures, figures.results

    def functions(self) -> dict[str, object]:
        """By the name that templates use."""
        return {
            "overview": self.overview,
            "table": self.table,
            "steps": self.steps,
            "ablation": self.ablation,
            "peers": self.peers,
            "losses": self.losses,
            "plain": self.plain,
            "columns": self.columns,
        }

    def overview(self, places: Sequence[tuple[str, str, str]]) -> str:
        """Who leads where, a row for each task: GenSR beside the best baseline or reference, and beside two heads.

        Args:
            places: what the row calls data and candidates, the data set, the study. One without GenSR has no row.
        """
        body = [
            [shown, task, *self._overview_row(dataset, study, task)]
            for shown, dataset, study in places
            for task in TASKS
            if self._results.ranks(Column(dataset, study, task), OURS)
        ]
        head = ["data and candidates", "task", "first", "GenSR", "best baseline or reference", "GenSR − it"]
        return _markdown([*head, "GenSR − two heads"], body)

    def _overview_row(self, dataset: str, study: str, task: str) -> list[str]:
        column = Column(dataset, study, task)
        best = self._results.leader(column, self._figures.baselines(study))
        ours, other = (self._named(dataset, study, name) for name in (OURS, best))
        lead = self._figures.difference(dataset, study, OURS, best, task)
        first = {"above": ours, "below": other}.get(lead.word, "level")
        shown = [
            f"{ours} {bare(self._results.mean(column, OURS))}",
            f"{other} {bare(self._results.mean(column, best))}",
        ]
        with_heads = self._results.ranks(column, "two_head")
        heads = str(self._figures.difference(dataset, study, OURS, "two_head", task)) if with_heads else ""
        every = self._figures.baselines(study)
        ranked = sum(bool(self._results.ranks(column, name)) for name in every)
        absent = sum(not self._results.has(dataset, study, name) for name in every)
        of = f"of {ranked + 1}" + (f", {absent} not trained" if absent else "")
        return [f"**{first}** {of}", *shown, str(lead), heads]

    def table(self, dataset: str, study: str, also: Sequence[str] = (), without: Sequence[str] = ()) -> str:
        """Every system of a study: both tasks, the mean over seeds, and GenSR minus it on N@10.

        Args:
            also: further rows, ``gensr@laptop``.
            without: systems that cannot rank these data.
        """
        named = [name for name in self._figures.systems(study) if name not in without] + list(also)
        there = [name for name in named if self._results.has(dataset, study, name)]
        absent = [name for name in named if name not in there]
        if not there:
            return f"No system has ranks yet. `{TRAIN} {dataset} {study}` trains all {len(named)}."
        against = self._against_ours(dataset, study, there)
        head = ["system", "kind", "seeds"]
        for task in TASKS:
            head += [f"{'rec' if task == 'recommendation' else task} {c}" for c in COLUMNS.values()] + ["GenSR − it"]
        body = [self._row(dataset, study, name, against) for name in there]
        _embolden(body, head)
        for name in absent:
            body.append(
                [self._figures.name(dataset, study, name), block(name.partition("@")[0]), "–", "not trained yet"]
            )
        return "\n".join(
            [_markdown(head, body), "", *_notes(self._cells(dataset, study, there), against, absent, dataset, study)]
        )

    def _row(self, dataset: str, study: str, name: str, against: dict[tuple[str, str], Difference]) -> list[str]:
        cells = self._results.cells(dataset, study, name)
        row = [self._named(dataset, study, name), block(name.partition("@")[0]), str(len(cells))]
        for task in TASKS:
            ranked = self._results.ranks(Column(dataset, study, task), name)
            row += [bare(self._results.mean(Column(dataset, study, task, m), name)) if ranked else "" for m in COLUMNS]
            difference = against.get((name, task))
            row.append(f"{difference}{'*' if difference.p < SIGNIFICANT else ''}" if difference else "")
        return row

    def _named(self, dataset: str, study: str, name: str) -> str:
        """What people call a system, with † where an older command saved its ranks."""
        older = any(cell.record.converted_from for cell in self._results.cells(dataset, study, name))
        return f"{self._figures.name(dataset, study, name)}{'†' if older else ''}"

    def _against_ours(self, dataset: str, study: str, names: Sequence[str]) -> dict[tuple[str, str], Difference]:
        """GenSR minus each row by task, p after Holm's correction for all of them."""
        pairs = {
            (name, task): self._figures.difference(dataset, study, OURS, name, task)
            for task in TASKS
            for name in names
            if name != OURS and all(self._results.ranks(Column(dataset, study, task), n) for n in (name, OURS))
        }
        corrected = holm([pair.p for pair in pairs.values()])
        return {key: pair._replace(p=p) for (key, pair), p in zip(pairs.items(), corrected, strict=True)}

    def _cells(self, dataset: str, study: str, names: Sequence[str]) -> list[Cell]:
        return [cell for name in names for cell in self._results.cells(dataset, study, name)]

    def steps(self, dataset: str, study: str, names: Sequence[str]) -> str:
        """N@10 of a few rows, with the deviation over seeds."""
        body = []
        for name in names:
            cells = self._results.cells(dataset, study, name)
            row = [self._figures.name(dataset, study, name), str(len(cells))]
            for task in TASKS:
                spread = self._results.deviation(Column(dataset, study, task), name)
                mean = bare(self._results.mean(Column(dataset, study, task), name))
                row.append(f"{mean} ± {bare(spread)}" if spread == spread else mean)
            body.append(row)
        return _markdown(["GenSR", "seeds", "recommendation N@10", "search N@10"], body)

    def ablation(self, dataset: str) -> str:
        """Each variant's N@5 relative to the whole model's over the seeds that both have, beside the paper's."""
        names = [name for name in VARIANTS if name != OURS and self._results.has(dataset, "ablation", name)]
        changes = {
            (name, task): self._results.relative(Column(dataset, "ablation", task, "ndcg_at_5"), name, OURS)[0]
            for task in TASKS
            for name in names
            if self._results.ranks(Column(dataset, "ablation", task), name)
        }
        p = dict(zip(changes, holm([one.p for one in changes.values()]), strict=True))
        body = []
        for name in names:
            row = [VARIANTS[name].title, str(len(self._results.seeds(dataset, "ablation", name)))]
            for task in TASKS:
                one = changes.get((name, task))
                papers = VARIANTS[name].paper.get(task)
                row += ["", "", ""] if one is None else [
                    str(Difference(one.mean_difference, one.low, one.high, one.p, relative=True)),
                    "< .001" if p[name, task] < 0.001 else bare(p[name, task], 3),
                    "" if papers is None else f"{100 * papers:+.1f}%".replace("-", "−"),
                ]  # fmt: skip
            body.append(row)
        return _markdown(["variant", "seeds", "rec N@5", "p", "paper", "search N@5", "p", "paper"], body)

    def peers(self, dataset: str, file: str) -> str:
        """Another library's systems (``benchmarks.peers``) beside ours of the same names, N@10 of recommendation."""
        column, body = Column(dataset, "rerank", TASKS[0]), []
        for name, ranks in read_saved_ranks(self._figures.folder / file).items():
            if self._results.ranks(column, name):
                by = self._results.difference_from(column, name, ranks)
                shown = Difference(by.mean_difference, by.low, by.high, by.p)
                ours, title = self._results.mean(column, name), self._figures.name(dataset, "rerank", name)
                body.append([title, bare(ours - shown.value), bare(ours), str(shown)])
        return _markdown(["system", "peer", "ours", "ours − peer"], body)

    def losses(self, file: str) -> str:
        """What ``benchmarks.losses`` tried, a line a training, the best of a system's in bold: NDCG@10 on valid."""
        tried = [json.loads(line) for line in (self._figures.folder / file).read_text(encoding="utf-8").splitlines()]
        order = {name: place for place, name in enumerate(dict.fromkeys(row["system"] for row in tried))}
        body = []
        for row in sorted(tried, key=lambda row: order[row["system"]]):
            same = [other for other in tried if other["system"] == row["system"]]
            shown = ", ".join(f"`{field}` {value}" for field, value in row["point"].items()) or "as it is"
            cells = [title(row["system"]), shown, str(row["epochs"])]
            for task in TASKS:
                best = max((other.get(task, 0.0) for other in same), default=0.0)
                figure = bare(row[task]) if task in row else ""
                cells.append(f"**{figure}**" if figure and row[task] == best and len(same) > 1 else figure)
            body.append(cells)
        return _markdown(["system", "hyperparameters", "epochs", *(f"{task} N@10" for task in TASKS)], body)

    def plain(self, head: Sequence[str], body: Sequence[Sequence[object]]) -> str:
        """A table of values that a template has at hand; numbers with four decimals."""
        return _markdown(head, [[bare(v) if isinstance(v, float) else str(v) for v in row] for row in body])

    @staticmethod
    def columns(rows: Sequence[Sequence[object]], places: Sequence[int]) -> list[list[object]]:
        """Some columns of rows."""
        return [[row[place] for place in places] for row in rows]


def _notes(
    cells: Sequence[Cell], against: dict[tuple[str, str], Difference], absent: Sequence[str], dataset: str, study: str
) -> list[str]:
    lines = []
    if against:
        lines.append(
            "**GenSR − it** is the difference on N@10, with its 95% interval of a paired bootstrap by user. A star "
            f"marks p < {bare(SIGNIFICANT, 2)} in a paired t-test, after Holm's correction over all {len(against)} "
            "differences."
        )
    if any(cell.record.converted_from for cell in cells):
        lines.append("† marks ranks that an older command saved. `benchmarks.tables` trains such a row anew.")
    if absent:
        lines.append(f"Rows without figures are not trained yet. `{TRAIN} {dataset} {study}` trains them.")
    return lines


def _embolden(body: list[list[str]], head: Sequence[str]) -> None:
    """The best of each column of figures, equal ones together."""
    for place, name in enumerate(head):
        if name.split()[-1] in COLUMNS.values():
            best = max((row[place] for row in body), default="")
            for row in body:
                row[place] = f"**{row[place]}**" if row[place] == best and best else row[place]


def _markdown(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    rows = [head, ["---"] * len(head), *([*row, *[""] * (len(head) - len(row))] for row in body)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
