"""The table of a file of lines: costs at each share, how they grow, and whether the goals are met."""

from __future__ import annotations

import math
from collections.abc import Iterable
from statistics import linear_regression
from typing import NamedTuple

from benchmarks.paper_size.lines import INDEX, Job, Line

MOST_GB, MOST_EXPONENT, EXEMPT_BELOW = 12.0, 1.1, 5.0


class Row(NamedTuple):
    """A stage of a data set at its shares, smallest first. ``seconds`` are of the processor."""

    data: str
    name: str
    shares: tuple[float, ...]
    n: tuple[int, ...]  # rows after the filter
    seconds: tuple[float, ...]
    whole: tuple[float, ...]  # of the whole stage, extrapolated
    peak_gb: float  # at the largest share

    @property
    def exponent(self) -> float | None:
        """The power of n with which the measured seconds grow."""
        return fitted(self.n, self.seconds)

    @property
    def exponent_of_whole(self) -> float | None:
        """The power of n with which the whole stage grows."""
        return fitted(self.n, self.whole)


def fitted(sizes: Iterable[float], costs: Iterable[float]) -> float | None:
    """The exponent of a power law by least squares of the logarithms. None for fewer than two sizes."""
    points = [(math.log(n), math.log(cost)) for n, cost in zip(sizes, costs, strict=True) if n > 0 and cost > 0]
    if len({x for x, _ in points}) < 2:
        return None
    return round(linear_regression(*zip(*points, strict=True)).slope, 3)


def rows(known: dict[Job, Line]) -> list[Row]:
    """One row for each stage of the good lines, in their order. A part of several stages has a row for each."""
    size = {(job.data, job.share): line["n"] for job, line in known.items() if line.get("n")}
    found: dict[tuple[str, str], list[tuple[float, int, float, float, float]]] = {}
    for job, line in known.items():
        n = size.get((job.data, job.share))
        if "error" in line or "skipped" in line or n is None:
            continue
        for step, cost in (line.get("steps") or {"": line}).items():
            if "error" in cost or "skipped" in cost:
                continue
            name = f"{job.part}: {step}" if step else job.part
            seconds = cost["cpu_seconds"]
            values = (job.share, n, seconds, cost.get("whole_s", seconds), line["peak_gb"])
            found.setdefault((job.data, name), []).append(values)
    stages = []
    for (data, name), measured in found.items():
        shares, sizes, seconds, whole, peaks = zip(*sorted(measured), strict=True)
        stages.append(Row(data, name, shares, sizes, seconds, whole, peaks[-1]))
    return stages


def failures(known: dict[Job, Line]) -> list[str]:
    """What failed, or was not made: one sentence for each."""
    found = []
    for job, line in known.items():
        for step, cost in (("", line), *line.get("steps", {}).items()):
            if reason := cost.get("error") or cost.get("skipped"):
                name = f"{job.part}: {step}" if step else job.part
                found.append(f"{job.data} at {job.share:g}, {name}: {reason}")
        if lacks := line.get("lacks"):
            found.append(f"{job.data} at {job.share:g}, {job.part}: not trained at that time: {', '.join(lacks)}")
    return found


def verdicts(stages: list[Row]) -> list[str]:
    """One sentence for each goal: met, missed and by which stage, or not measured at the full size."""
    whole = [row for row in stages if row.shares[-1] == 1]
    if not whole:
        return [f"No stage is measured at the full size, so no goal is judged: {len(stages)} stages at smaller ones."]
    judged = [row for row in whole if row.seconds[-1] >= EXEMPT_BELOW]
    growing = [row for row in judged if len(row.shares) > 1]
    wholes = [row for row in whole if row.whole[-1] >= EXEMPT_BELOW and len(row.shares) > 1]
    return [
        _verdict(f"no stage above {MOST_GB:g} GB", whole, [r for r in whole if r.peak_gb > MOST_GB]),
        _verdict(f"no exponent of what was measured above {MOST_EXPONENT}", growing,
                 [r for r in growing if (r.exponent or 0) > MOST_EXPONENT]),
        _verdict(f"no exponent of the whole above {MOST_EXPONENT}", wholes,
                 [r for r in wholes if (r.exponent_of_whole or 0) > MOST_EXPONENT]),
    ]  # fmt: skip


def _verdict(goal: str, judged: list[Row], missed: list[Row]) -> str:
    if missed:
        return f"Missed: {goal}: {', '.join(f'{row.data} {row.name}' for row in missed)}, of {len(judged)} stages."
    return f"Met: {goal}, {len(judged)} stages." if judged else f"Not judged: {goal}: no stage has the sizes for it."


def markdown(stages: list[Row]) -> list[str]:
    """The table's lines."""
    lines = [
        "| data | stage | n, rows after the filter | CPU s | exponent | whole, CPU | exponent | peak memory |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in stages:
        sizes = ", ".join(f"{n:,}" for n in row.n) if row.data != INDEX else f"{row.n[-1]:,} items"
        seconds = ", ".join(f"{s:.3g}" for s in row.seconds)
        cells = (
            row.data, row.name, sizes, seconds, _number(row.exponent),
            _duration(row.whole[-1]), _number(row.exponent_of_whole), f"{row.peak_gb:.1f} GB",
        )  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _duration(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 600
        else f"{seconds / 60:.0f} min"
        if seconds < 36_000
        else f"{seconds / 3600:.0f} h"
    )
