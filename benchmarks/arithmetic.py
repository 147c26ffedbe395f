"""Rows of results tables that no ranking of one positive per sample can give: of the paper's, and of Markdown pages.

    python -m benchmarks.arithmetic docs/*.md docs/results/*.md

Prints every cell that is not inside, with (N@10 − N@5) / (R@10 − R@5), which lies in [.289, .356], and how many are.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from benchmarks.sides import arguments
from gensr_model.evaluation.arithmetic import markdown_rows, ranks_six_to_ten
from gensr_model.reporting.paper import FULL_RANKING, RANKING, papers_cells


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("pages", type=Path, nargs="*", help="Markdown pages with tables of R@5, R@10, N@5 and N@10")
    given = parser.parse_args()
    tables = {
        title: [(", ".join(place), row, told) for place, row, told in papers_cells(known)]
        for title, known in (("the paper's Tables 2 and 3", RANKING), ("the paper's Table 4", FULL_RANKING))
    }
    tables["the pages"] = [
        (f"{page.name}, {row.name}", row, ranks_six_to_ten(row))
        for page in given.pages
        for row in markdown_rows(page.read_text())
    ]
    for title, cells in tables.items():
        for place, row, told in cells:
            if told != "inside":
                print(f"{title}: {place}: {told}, {row.ratio:.3f}")
        print(f"{title}: {dict(Counter(told for *_, told in cells))}")


if __name__ == "__main__":
    main()
