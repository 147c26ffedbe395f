"""Measure the sentences of pages and docstrings: `python tests/docs/prose.py PAGE...` prints each one that is too long.

Named are Markdown pages and Python files. Without a name, all pages of the documentation are measured.
The rules: a page's mean sentence has at most 18 words, with and without its tables. None has more than 35 words.
A cell of a table has at most 25 words.
The first sentence of a public docstring has at most 20. A page has at most 250 lines.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).resolve().parents[2]
MEAN, LONGEST, CELL, FIRST, LINES = 18, 35, 25, 20, 250
WRITTEN_TABLES = {"docs/results/findings.md", "docs/results/studies.md"}  # results, by `gensr results build`

CODE = "\ufffc"  # stands for skipped code: no word, but a sentence may begin or end with it
ABBREVIATIONS = {"e.g", "i.e", "cf", "vs", "eq", "eqs", "fig", "figs", "sec", "tab", "fn", "approx", "resp", "al", "no"}
NUMBERED = {"no"}  # an abbreviation before a figure alone
END = re.compile(r"(?<=[.!?])[\"'”’)\]*_]*\s+|(?<=[…])\s+")


class Sentence(NamedTuple):
    """What counts as one sentence of a page; ``kind`` is "text" or "cell", ``line`` counts from 1."""

    line: int
    words: int
    kind: str
    text: str

    @property
    def limit(self) -> int:
        return CELL if self.kind == "cell" else LONGEST


def sentences(text: str) -> Iterator[tuple[int, str]]:
    """(offset, sentence) of plain text. A colon, a semicolon, an abbreviation and a decimal point end none."""
    start = 0
    for end in END.finditer(text):
        word = text[start : end.start()].split()[-1].strip("(\"'“‘[").lower()
        rest = text[end.end() :]
        if word[-1:] == "." and _is_abbreviation(word[:-1], rest):
            continue
        yield start, text[start : end.end()]
        start = end.end()
    if text[start:].strip():
        yield start, text[start:]


def _is_abbreviation(word: str, rest: str) -> bool:
    if word in NUMBERED:
        return rest[:1].isdigit()
    initial = len(word) == 1 and word.isalpha() and word != "i"
    return word in ABBREVIATIONS or initial or (word == "etc" and rest[:1].islower())


def count(text: str) -> int:
    """Words: what stands between blanks and has a letter or a digit."""
    return sum(any(c.isalnum() for c in word) for word in text.split())


def measure(text: str, tables: bool = True) -> list[Sentence]:
    """The sentences of a Markdown page, without headings and code; ``tables=False`` leaves out tables.

    A list item and a cell end a sentence. A cell is one sentence whatever points it has. Those of code alone are none.
    """
    found: list[Sentence] = []
    line, inside = 0, ""
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        line = token.map[0] if token.map else line
        if token.type in ("heading_open", "th_open", "td_open"):
            inside = token.type
        elif token.type in ("heading_close", "th_close", "td_close"):
            inside = ""
        elif token.type == "html_block":
            found += _of_text(re.sub(r"<[^>]*>", " ", token.content), line)
        elif token.type == "inline" and inside in ("th_open", "td_open"):
            cell = _plain(token)
            found += [Sentence(line + 1, count(cell), "cell", cell)] if tables else []
        elif token.type == "inline" and not inside:
            found += _of_text(_plain(token), line)
    return [sentence for sentence in found if sentence.words]


def _of_text(text: str, line: int) -> list[Sentence]:
    return [
        Sentence(line + 1 + text[:offset].count("\n"), count(part), "text", " ".join(part.split()))
        for offset, part in sentences(text)
    ]


def _plain(inline: Token) -> str:
    """The text of a paragraph or cell, its lines kept."""
    kinds = {"code_inline": CODE, "softbreak": "\n", "hardbreak": "\n", "html_inline": "", "image": ""}
    return "".join(kinds.get(child.type, child.content) for child in inline.children or [])


def mean(found: list[Sentence]) -> float:
    """Words of a page's mean sentence, with its tables or without: many short cells excuse no long sentences."""
    kinds = [found, [sentence for sentence in found if sentence.kind == "text"]]
    return max(sum(sentence.words for sentence in kind) / max(len(kind), 1) for kind in kinds)


def faults(text: str, tables: bool = True) -> list[str]:
    """What a page breaks, each with its line; empty for a page that keeps the rules."""
    found = measure(text, tables)
    long = [s for s in found if s.words > s.limit]
    lines = [f"{s.line}: {s.words} words, at most {s.limit} in a {s.kind}: {s.text}" for s in long]
    if mean(found) > MEAN:
        lines.append(f"1: the mean sentence has {mean(found):.1f} words, at most {MEAN}")
    if (length := text.count("\n")) > LINES:
        lines.append(f"{length}: the page has {length} lines, at most {LINES}")
    return lines


def docstring_faults(source: str) -> list[str]:
    """Each public docstring of a Python file whose first sentence is too long."""
    lines = []
    for line, docstring in _public_docstrings(ast.parse(source)):
        plain = re.sub(r"``.*?``|`[^`]*`", CODE, docstring.partition("\n\n")[0], flags=re.DOTALL)
        first = next((part for _, part in sentences(plain)), "")
        if count(first) > FIRST:
            lines.append(
                f"{line}: {count(first)} words, at most {FIRST} in a docstring's first: {' '.join(first.split())}"
            )
    return lines


def _public_docstrings(
    tree: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef,
) -> Iterator[tuple[int, str]]:
    """(line, docstring) of a module or class, and of what it defines under a public name."""
    if docstring := ast.get_docstring(tree):
        yield tree.body[0].lineno, docstring
    if isinstance(tree, ast.FunctionDef | ast.AsyncFunctionDef):
        return
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            yield from _public_docstrings(node)


def pages() -> list[Path]:
    """README, the pages of docs but its templates, and the README of each example."""
    docs = [path for path in (ROOT / "docs").rglob("*.md") if "templates" not in path.parts]
    return [ROOT / "README.md", *sorted(docs), *sorted((ROOT / "examples").glob("*/README.md"))]


def modules() -> list[Path]:
    """The Python files whose docstrings are measured."""
    return sorted(
        path for room in ("gensr_model", "tasks", "flows", "benchmarks") for path in (ROOT / room).rglob("*.py")
    )


def has_prose_in_tables(path: Path) -> bool:
    """Whether the tables of a page are prose, not results that a command wrote."""
    return path.resolve().relative_to(ROOT).as_posix() not in WRITTEN_TABLES


def faults_of(path: Path) -> list[str]:
    """What a page or a Python file breaks."""
    text = path.read_text(encoding="utf-8")
    return docstring_faults(text) if path.suffix == ".py" else faults(text, has_prose_in_tables(path))


def main(names: list[str]) -> int:
    """Print what the named files break, and the mean sentence of each page."""
    broken = 0
    for path in [Path(name) for name in names] or pages():
        lines = faults_of(path)
        broken += len(lines)
        for line in lines:
            print(f"{path}:{line}")
        if path.suffix != ".py":
            found = measure(path.read_text(encoding="utf-8"), has_prose_in_tables(path))
            print(f"{path}: the mean sentence has {mean(found):.1f} words")
    return min(broken, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
