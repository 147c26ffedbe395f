"""One table as Markdown, as HTML and in a terminal: the same cells in all three."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
from parsed import Parsed
from rich.console import Console
from test_run_tables import facts

from flows.local.watch import print_tables
from gensr_model.reporting import renderers, run_sections
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


def drawn(width: int, color: bool = False) -> str:
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=color, color_system="standard" if color else None)
    console.print(renderers.terminal(TABLE))
    return out.getvalue()


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


def test_a_terminal_shows_the_same_cells_and_folds_what_does_not_fit() -> None:
    wide, narrow = drawn(80), drawn(34)
    for cell in ("GenSR", "0.4124", "0.5000", "<b>BM25", "0.6250", "A note."):
        assert cell in wide
    assert max(map(len, narrow.splitlines())) <= 34
    letters = [sorted(re.sub(r"\W", "", shown)) for shown in (wide, narrow)]
    assert letters[0] == letters[1], "a narrow terminal folds cells and cuts none"
    assert "Memory" not in drawn(80)
    assert "\x1b[1m0.4124" in drawn(80, color=True), "the best is bold"
    assert "\x1b[4m0.5000" in drawn(80, color=True), "the second underlined"


@pytest.mark.parametrize("terminal", [True, False])
def test_make_run_draws_in_a_terminal_and_prints_markdown_elsewhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    summary = facts().summary
    page = renderers.page(*run_sections.summary_sections(summary))
    (tmp_path / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    (tmp_path / "table.md").write_text(page, encoding="utf-8")
    monkeypatch.setattr("sys.stdout.isatty", lambda: terminal)
    monkeypatch.setenv("COLUMNS", "200")
    print_tables(tmp_path)
    shown = capsys.readouterr().out
    assert "Search: 400 test samples, 1 positive among 99 negatives" in shown
    assert "0.3900" in shown
    assert ("| Model" in shown) != terminal
    assert ("━" in shown) == terminal
