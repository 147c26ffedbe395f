"""Parsing over a cluster: files, and spans of large plain files, become parts before they are read as such."""

from __future__ import annotations

import contextlib
import functools
import itertools
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from gensr_model.config.pipeline import PipelineConfig
from gensr_model.errors import DataError, EmptyFileError
from tasks.core import sql_runner
from tasks.core.cluster import Cluster, published
from tasks.core.dataset_format import RawTable, dataset_format
from tasks.ingest.file_cache import Counted, Parts, join_parts, write_part
from tasks.ingest.raw_files import WHOLE, Span, line_ends, spans_of
from tasks.ingest.rejects import Account


class Piece(NamedTuple):
    """A span of a file of the raw table ``table``, to be written to ``folder``. Accounts call the file ``name``."""

    table: str
    path: Path
    name: str
    span: Span
    folder: Path


def parse_ahead(
    cluster: Cluster,
    config: PipelineConfig,
    table: RawTable,
    account: Account,
    bounds: dict[str, int],
    parts: Parts,
    scratch: Path,
) -> None:
    """Parse the table's files among the opened ones of ``account`` that are no parts yet, on the workers.

    Parsing ends at a file that cannot be used, and leaves out empty ones. They are no parts, so whoever reads them
    next meets their errors, in order.
    """
    paths = [path for path in account.paths() if not parts.has(table.name, account.of(path))]
    spans = {path: spans_of(path) if table.spans and path.stat().st_size else (WHOLE,) for path in paths}
    followed = [(path, span) for path in paths for span in spans[path][:-1]]
    ends = dict(zip(followed, cluster.map(_line_ends, followed), strict=True))
    pieces: list[Piece] = []
    for path in paths:
        name, folder = account.of(path)["name"], scratch / f"{table.name}-{len(pieces)}"
        lines = itertools.accumulate((ends.get((path, span), 0) for span in spans[path]), initial=0)
        pieces += [
            Piece(table.name, path, name, span._replace(lines=before), folder / str(number))
            for number, (span, before) in enumerate(zip(spans[path], lines, strict=False))
        ]
    done = defaultdict[Path, list[Piece]](list)
    with contextlib.suppress(DataError):
        for piece in cluster.map(functools.partial(_parse, config, bounds), pieces):
            if piece is not None:
                done[piece.path].append(piece)
    whole = [done[path] for path in paths if len(done[path]) == len(spans[path])]
    for first, folder in zip(whole, cluster.map(functools.partial(_join, config), whole), strict=True):
        parts.put(folder, table.name, account.of(first[0].path))


def _line_ends(given: tuple[Path, Span]) -> int:
    return line_ends(*given)


def _parse(config: PipelineConfig, bounds: dict[str, int], piece: Piece) -> Piece | None:
    """Write the part of a piece. None where the file is empty."""
    table = _table(config, piece.table)
    span = (piece.span,) if table.spans else ()
    with tempfile.TemporaryDirectory() as temp, sql_runner.connect(config.prepare, Path(temp)) as con:
        try:
            with published(piece.folder) as aside:
                write_part(aside, piece.name, table.schema, Counted(table.blocks(con, piece.path, bounds, *span)))
        except EmptyFileError:
            return None
    return piece


def _join(config: PipelineConfig, pieces: list[Piece]) -> Path:
    """The folder of a file's part, from its pieces."""
    first = pieces[0]
    if len(pieces) == 1:
        return first.folder
    whole = first.folder.with_name("whole")
    with published(whole) as aside:
        join_parts(aside, first.name, _table(config, first.table).schema, [piece.folder for piece in pieces])
    return whole


def _table(config: PipelineConfig, name: str) -> RawTable:
    tables = dataset_format(config.format).reading.of(config).tables
    return next(table for table in tables if table.name == name)
