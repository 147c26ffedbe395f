"""The results pages, written from saved ranks: ``docs/templates/<page>.md.j2`` gives ``docs/results/<page>.md``.

    gensr results build [--check | --prune]

A template holds names, not numbers. Tables and the figures of sentences come from ``docs/results``. With ``--check``
nothing is written: the exit status is 1 where a page differs from what the ranks give, or a cell is on no page.
``--prune`` deletes such cells, as those that new ones have replaced.
"""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError

from gensr_model.errors import DataError
from gensr_model.evaluation.results import Results
from tasks.publish.results_figures import Figures
from tasks.publish.results_tables import Tables

ENDING = ".md.j2"


class Pages(NamedTuple):
    """What the ranks give: the text of every page by its file, and the cells that no page asked for."""

    texts: dict[Path, str]
    unused: list[Path]


def build(docs: Path) -> Pages:
    """Every page of a folder of documentation.

    Args:
        docs: has ``templates`` and ``results``, with the cells in ``results/cells``.

    Raises DataError with the template's line where a sentence does not hold, or a figure has no cell.
    """
    figures = Figures(Results(docs / "results" / "cells"), docs / "results")
    templates = Environment(
        loader=FileSystemLoader(docs / "templates"), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True,
    )  # fmt: skip
    templates.globals |= figures.functions() | Tables(figures).functions()
    texts = {}
    for template in sorted((docs / "templates").glob(f"*{ENDING}")):
        try:
            text = templates.get_template(template.name).render()
        except (DataError, TemplateError, ValueError, LookupError, TypeError) as error:
            raise DataError(f"{_where(error, template)}: {error}") from error
        texts[docs / "results" / f"{template.name.removesuffix(ENDING)}.md"] = text
    return Pages(texts, figures.results.unused())


def _where(error: BaseException, template: Path) -> str:
    """The template, the line that failed, and what stands there."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(template)]
    number = lines[-1] if lines else getattr(error, "lineno", None)
    if number is None:
        return str(template)
    return f"{template}, line {number}, “{template.read_text(encoding='utf-8').splitlines()[number - 1].strip()}”"


def differing(pages: Pages) -> list[Path]:
    """Pages that are not what the ranks give."""
    return [
        path for path, text in pages.texts.items() if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]


def update(docs: Path, check: bool = False, prune: bool = False) -> int:
    """Write the pages that differ and say so, or only say so; 1 where a check finds something. Raises as ``build``."""
    pages = build(docs)
    changed = differing(pages)
    for path in changed:
        print(f"{path}: {'differs from what the ranks give' if check else 'written'}")
        if not check:
            path.write_text(pages.texts[path], encoding="utf-8")
    for path in pages.unused:
        print(f"{path}: {'deleted' if prune else 'on no page; name it in a template, or give --prune'}")
        if prune:
            path.unlink()
    return int(check and bool(changed or pages.unused))
