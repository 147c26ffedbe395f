"""Pages and docstrings keep the rules of ``prose.py``."""

from __future__ import annotations

from pathlib import Path

import pytest
from prose import ROOT, docstring_faults, faults, faults_of, mean, measure, modules, pages


def check(files: list[Path]) -> None:
    assert len(files) > 20
    broken = [f"{path.relative_to(ROOT)}:{fault}" for path in files for fault in faults_of(path)]
    assert not broken, "rewrite: " + "\n".join(broken)


def test_pages_are_read_once() -> None:
    check(pages())


def test_docstrings_begin_with_a_short_sentence() -> None:
    check(modules())


def words(text: str, tables: bool = True) -> list[tuple[int, str]]:
    return [(sentence.words, sentence.kind) for sentence in measure(text, tables)]


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("One two. Three four five!", [2, 3]),
        ("A run has stages: one, two; three.", [7]),
        ("It reads logs, e.g. CSV files, i.e. text.", [8]),
        ("Recall is .35 here, by Eq. 7 of Zhao et al. in Fig. 2.", [14]),
        ("It takes 2.5 hours. 3 of 4 are done.", [4, 5]),
        ('It answers "Yes." Or it answers (No.) Then it ends.', [3, 4, 3]),
        ("A list of words, logs etc. and more. Then etc. Then more.", [8, 2, 2]),
        ("The table names no. 7. It answers no. That ends it.", [5, 3, 3]),
        ("Run `gensr run --a --b. C` now. `x` ends it.", [2, 2]),
        ("A [link of words](https://a.b/c.d) – here.", [5]),
        ("two\nlines are one sentence.", [5]),
    ],
)
def test_a_sentence_ends_where_a_reader_ends_it(text: str, counts: list[int]) -> None:
    assert words(text) == [(count, "text") for count in counts]


def test_headings_and_code_are_skipped_and_lines_are_told() -> None:
    page = "# A heading of words\n\nFirst\none. Second one.\n\n```\nno words. at all\n```\n\n    nor here\n\nThird.\n"
    assert [(s.line, s.words) for s in measure(page)] == [(3, 2), (4, 2), (12, 1)]


def test_a_list_item_ends_a_sentence() -> None:
    assert words("Stages:\n\n- one two\n- three. Four five\n  - six\n") == [(n, "text") for n in (1, 2, 1, 2, 1)]


def test_a_cell_is_one_sentence_and_code_alone_is_none() -> None:
    table = "| name | what |\n|---|---|\n| `x` | One two. Three |\n"
    assert words(table) == [(1, "cell"), (1, "cell"), (3, "cell")]
    assert words(table, tables=False) == []
    assert faults(f"| a |\n|---|\n| {'word ' * 26}|\n")[0].startswith("3: 26 words, at most 25 in a cell")


def test_a_page_is_measured_by_its_longest_its_mean_and_its_length() -> None:
    assert faults("word " * 35 + "\n\n" + "- word\n" * 3) == []
    assert faults("word " * 36 + "\n\n" + "- word\n" * 3)[0].startswith("1: 36 words, at most 35 in a text")
    assert faults("word " * 19) == ["1: the mean sentence has 19.0 words, at most 18"]
    assert faults("word.\n\n" * 126) == ["252: the page has 252 lines, at most 250"]


def test_short_cells_do_not_hide_long_sentences() -> None:
    page = "word " * 20 + "\n\n| a | b |\n|---|---|\n" + "| a | b |\n" * 50
    assert mean(measure(page)) == 20


def test_only_the_first_sentence_of_a_public_docstring_counts() -> None:
    long = "word " * 21
    source = f'class A:\n    """Short. {long}"""\n    def b(self):\n        """{long}"""\n'
    source += f'    def _c(self):\n        """{long}"""\n'
    assert [fault[:11] for fault in docstring_faults(source)] == ["4: 21 words"]
    assert docstring_faults(f'"""``{long}`` is code.\n\n{long}"""') == []
