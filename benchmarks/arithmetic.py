"""Rows of results tables with impossible figures for one positive per sample, in the paper and in Markdown pages.

python -m benchmarks.arithmetic docs/results/*.md

Prints every cell that is not inside, with (N@10 − N@5) / (R@10 − R@5), which lies in [.289, .356], and the number of
cells by result.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from benchmarks.sides import arguments
from gensr_model.evaluation.arithmetic import Figures, ranks_six_to_ten
from gensr_model.reporting.paper import FULL_RANKING, RANKING, papers_cells

_NAMES = ("R@5", "R@10", "N@5", "N@10")


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("pages", type=Path, nargs="*", help="Markdown pages with tables of R@5, R@10, N@5 and N@10")
    given = parser.parse_args()
    tables = {
        title: [(", ".join(place), row, verdict) for place, row, verdict in papers_cells(known)]
        for title, known in (("the paper's Tables 2 and 3", RANKING), ("the paper's Table 4", FULL_RANKING))
    }
    tables["the pages"] = [
        (f"{page.name}, {row.name}", row, ranks_six_to_ten(row))
        for page in given.pages
        for row in markdown_rows(page.read_text(encoding="utf-8"))
    ]
    for title, cells in tables.items():
        for place, row, verdict in cells:
            if verdict != "inside":
                print(f"{title}: {place}: {verdict}, {ratio(row):.3f}")
        print(f"{title}: {dict(Counter(verdict for *_, verdict in cells))}")


def ratio(row: Figures) -> float:
    """(N@10 − N@5) / (R@10 − R@5) as printed, which lies in [.289, .356]; NaN where recall does not rise."""
    rise = row.recall_at_10 - row.recall_at_5
    return (row.ndcg_at_10 - row.ndcg_at_5) / rise if rise else math.nan


def markdown_rows(page: str) -> Iterator[Figures]:
    """The rows of every table of a Markdown page with columns R@5, R@10, N@5 and N@10.

    The columns occur once, or once for each task.
    """
    places: list[tuple[int, ...]] = []
    for line in page.splitlines():
        cells = [re.sub(r"[*]|</?u>", "", cell).strip() for cell in re.split(r"(?<!\\)[|]", line)]
        if len(cells) < 3:
            places = []
        columns = [[n for n, cell in enumerate(cells) if cell.split()[-1:] == [name]] for name in _NAMES]
        if all(columns):
            places = list(zip(*columns, strict=True))
            continue
        for four in places:
            shown = [cells[place] if place < len(cells) else "" for place in four]
            if all(re.fullmatch(r"[01]?\.\d+", cell) for cell in shown):
                digits = min(len(cell.partition(".")[2]) for cell in shown)
                a, b, c, d = map(float, shown)
                yield Figures(cells[1], a, b, c, d, digits)


if __name__ == "__main__":
    main()
