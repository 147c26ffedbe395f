"""The frozen candidate lists: negatives per evaluation sample and protocol, drawn by digest, slice by slice.

Every list holds distinct items that the user met in no split and by no behavior. It depends on (seed, sample_id,
catalogue, what the user met) alone, and for ``popularity`` on the training counts, for ``bm25`` on query and texts.

``uniform``
    Every item has the same chance (§6.1.3).
``popularity``
    Without replacement, an item's chance in proportion to its training recommendation events + 1.
``bm25``
    Search samples only: the items that BM25 finds best for the query, equal scores in the order of a digest; where
    fewer items have a word of the query, the rest is uniform. Texts are title, brand and description as
    ``TextConfig()`` cuts them, never categories, and do not follow the model's config.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa

from gensr_model.config import SEARCH_ONLY, PrepareConfig, Protocol, TextConfig
from gensr_model.data.bm25 import TextIndex, best_matches, index_texts, item_texts
from gensr_model.errors import DataError
from tasks import prepared_files as files
from tasks.duck import run, to_arrow

_SLICE = 20_000  # samples drawn together: bounds memory, does not change what is drawn
_SPARE = 16  # draws of the first round beyond the negatives: most samples are complete after it
_QUERIES = 256  # queries matched together, and
_SCORES = 50_000_000  # scores held at once: few queries at a time where the catalogue is large


def draw_candidates(
    con: duckdb.DuckDBPyConnection, split: str, config: PrepareConfig, seed: int, path: Path
) -> int:
    """Draw ``config.negatives`` items per sample of ``split`` and protocol, write ``path``, return the number of lists.

    Reads the tables samples, items, users, queries and met of ``con``. Lists of the first of ``config.protocols``
    stand first, each protocol's in the order of the samples. Raises DataError where a user leaves too few items.
    """
    fewest = files.one_row(con, "prepared/41_fewest_unmet")
    items, met = fewest["items"], fewest["met"]
    if items - met < config.negatives:
        raise DataError(
            f"the catalogue is too small for {config.negatives} negatives: user {fewest['raw_id']!r} met {met} of "
            f"{items} items, which leaves {items - met}. Lower prepare.negatives or bring more items"
        )
    run(con, "prepared/42_item_weights")
    drawings = (_Drawing(con, protocol, config.negatives, seed, items, met) for protocol in config.protocols)
    return files.write(path, files.CANDIDATES, (batch for each in drawings for batch in each.lists(split)))


class _Drawing:
    """One protocol on one catalogue; ``most_met``: how many items an evaluated user met at most."""

    def __init__(
        self,
        con: duckdb.DuckDBPyConnection,
        protocol: Protocol,
        negatives: int,
        seed: int,
        items: int,
        most_met: int,
    ) -> None:
        self.con, self.protocol, self.items = con, protocol, items
        self.weighted = protocol == "popularity"
        self.negatives = {"negatives": negatives}
        # No salt for uniform: its lists are those from before there were other protocols.
        self.seed = {"seed": seed, "salt": None if protocol == "uniform" else protocol}
        self.keep = negatives + most_met  # matches that leave enough whatever the user met

    def lists(self, split: str) -> Iterator[pa.RecordBatch]:
        """The lists of a split, in the order of its samples."""
        run(
            self.con,
            "prepared/44_numbered_samples",
            {"split": split, "searches_only": self.protocol in SEARCH_ONLY},
        )
        index = self._index() if self.protocol == "bm25" else None
        for first in range(0, self.con.table("numbered_samples").shape[0], _SLICE):
            run(self.con, "prepared/46_slice", {"first": first, "stop": first + _SLICE})
            run(self.con, "prepared/47_chosen")
            if index is not None:
                self._match(index)
            self._draw()
            yield from files.rows_of(self.con, "prepared/56_candidates", {"protocol": self.protocol})

    def _draw(self) -> None:
        """Rounds of drawing, each of twice as many tickets, until no sample of the slice is short."""
        tickets = (
            files.one_row(self.con, "prepared/43_ticket_count")["tickets"] if self.weighted else self.items
        )
        first, draws = 0, self.negatives["negatives"] + _SPARE
        while files.one_row(self.con, "prepared/50_short", self.negatives)["samples"]:
            if self.weighted and draws > self.items:  # a key for every item is less work than so many tickets
                run(self.con, "prepared/55_keep_by_key", {**self.negatives, **self.seed, "first_draw": first})
                return
            round_of = {"tickets": tickets, "first_draw": first, "stop_draw": first + draws}
            run(self.con, "prepared/51_tickets", {**self.negatives, **self.seed, **round_of})
            run(self.con, "prepared/53_drawn_by_weight" if self.weighted else "prepared/52_drawn_uniform")
            run(self.con, "prepared/54_keep_fresh")
            first, draws = first + draws, 2 * draws

    def _index(self) -> TextIndex:
        return index_texts(item_texts(to_arrow(self.con, "prepared/45_item_fields"), TextConfig()))

    def _match(self, index: TextIndex) -> None:
        """The slice's queries against all items, a few queries at a time."""
        asked = to_arrow(self.con, "prepared/48_slice_queries")
        size = max(1, min(_QUERIES, _SCORES // self.items))
        for start in range(0, asked.num_rows, size):
            part = asked.slice(start, size)
            found = best_matches(index, part["text"].to_pylist(), self.keep)
            query = part["query_idx"].combine_chunks().take(pa.array(found.query))
            self.con.register(
                "matches", pa.table({"query_idx": query, "item_idx": found.item, "score": found.score})
            )
            run(self.con, "prepared/49_keep_matches", {**self.negatives, **self.seed})
            self.con.unregister("matches")
