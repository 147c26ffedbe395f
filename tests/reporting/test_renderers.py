"""One table as Markdown and as HTML: the same cells in both."""

from __future__ import annotations

from parsed import Parsed

from gensr_model.reporting import renderers
from gensr_model.reporting.tables import Cell, Column, Table, mark_best, number, text

TABLE = Table(
    "t",
    "Two systems",
    [Column("System", False), Column("N@10"), Column("R@5"), Column("Memory"), Column("Why", False)],
    mark_best(
        [
            [text("GenSR"), number(0.41236), number(0.5), number(None), text("a | b\nc")],
            [text("<b>BM25"), number(0.2), number(0.625), Cell("")],
        ],
        [1, 2],
    ),
    "A note.",
)
TABLE = TABLE._replace(rows=[TABLE.rows[0], [*TABLE.rows[1], Cell("")]])


def test_markdown_marks_the_best_and_leaves_out_columns_that_nobody_fills() -> None:
    assert renderers.markdown(TABLE).splitlines() == [
        "**Two systems**",
        "",
        "| System  |          N@10 |           R@5 | Why      |",
        "| ------- | ------------: | ------------: | -------- |",
        r"| GenSR   |    **0.4124** | <u>0.5000</u> | a \| b c |",
        "| <b>BM25 | <u>0.2000</u> |    **0.6250** |          |",
        "",
        "A note.",
    ]


def test_html_shows_every_column_and_escapes_what_it_is_given() -> None:
    page = renderers.html(TABLE)
    assert "&lt;b&gt;BM25" in page
    assert "<b>BM25" not in page
    shown = Parsed(page).text
    for column in TABLE.columns:
        assert column.title in shown
    assert [attrs.get("class") for attrs in Parsed(page).all("td")][:2] == ["num best", "num second"]
