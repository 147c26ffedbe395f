"""The frozen candidate lists: negatives per evaluation sample and protocol, slice by slice.

Every list holds distinct items that the user met in no split and by no behavior. A list depends only on (seed,
sample_id, catalogue, items that the user met), for ``popularity`` also on the training counts, and for ``bm25`` on
query and texts.

``uniform``
    Every item has the same chance (§6.1.3).
``popularity``
    Without replacement, with an item's chance in proportion to its training recommendation events + 1.
``bm25``
    Search samples only: the best items by BM25 for the query, with equal scores in the order of a digest. Where fewer
    items have a word of the query, the rest is uniform. Texts are title, brand and description as ``_BM25_TEXT`` cuts
    them, never categories, and do not depend on the model's config.
``shown``
    Nothing is drawn: the first items that were shown in the list of the sample's engagement
    (``sql/prepared/shown_lists.sql``). Lists may be shorter, and a sample without impressions has none.
"""

from __future__ import annotations

import copy
import functools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import numpy as np
import pyarrow as pa

from gensr_model.config.base import SEARCH_ONLY, SHOWN, Protocol
from gensr_model.config.data import PrepareConfig
from gensr_model.config.model import TextConfig
from gensr_model.data.bm25 import TextIndex, best_matches, index_texts, item_texts
from gensr_model.data.draws import IntArray, Negatives, streams
from gensr_model.errors import DataError
from tasks.core.cluster import Cluster
from tasks.core.sql_runner import run, to_arrow
from tasks.prepare import schemas as files

_SLICE = 4_096  # samples drawn together: bounds memory, does not change what is drawn
# Written out here, because no key of prepare holds a default of the config.
_BM25_TEXT = TextConfig(include_category=False, title_tokens=48, description_tokens=128)
_QUERIES = 256  # queries matched together, and
_SCORES = 50_000_000  # scores held at once: few queries at a time where the catalogue is large
_SPLITS = ("test", "valid")
_SALTS: dict[Protocol, int] = {"uniform": 0, "popularity": 1, "bm25": 2}


def draw_candidates(
    con: duckdb.DuckDBPyConnection,
    split: str,
    config: PrepareConfig,
    seed: int,
    path: Path,
    cluster: Cluster | None = None,
) -> int:
    """Draw ``config.negatives`` items per sample of ``split`` and protocol, write ``path``, return the number of lists.

    Reads the tables samples, items, users, queries and met of ``con``. Lists are in the order of ``config.protocols``,
    and within a protocol in the order of the samples. Memory beyond slices is 8 bytes per pair of an evaluated user and
    a met item. Call ``require_candidates`` before. Workers of a ``cluster`` draw slices and see the folder of ``path``.
    """
    items, met = (files.one_row(con, "prepared/fewest_unmet")[name] for name in ("items", "met"))
    keys = to_arrow(con, "prepared/met_keys", {"items": items})["key"].to_numpy()
    weights = path.with_suffix(".weights.npy")
    in_order = functools.partial(_in_threads, config.threads) if cluster is None else cluster.map

    def lists(protocol: Protocol) -> Iterator[pa.RecordBatch]:
        if protocol == SHOWN:
            return files.rows_of(con, "prepared/files/shown_lists", {"split": split})
        if protocol == "popularity":
            np.save(weights, to_arrow(con, "prepared/item_weights")["weight"].to_numpy())
        rule = Rule(protocol, seed, items, config.negatives, weights if protocol == "popularity" else None)
        return in_order(functools.partial(draw, rule), _Slices(con, rule, keys, met).of(split))

    try:
        return files.write(
            path, files.CANDIDATES, (batch for protocol in config.protocols for batch in lists(protocol))
        )
    finally:
        weights.unlink(missing_ok=True)


def require_candidates(con: duckdb.DuckDBPyConnection, config: PrepareConfig, counts: dict[str, Any]) -> None:
    """Make the table ``shown_lists`` for the protocol ``shown``, and count in ``counts["shown"]`` what it leaves out.

    Reads the tables samples, items, users, met, and impressions if it is there. Raises DataError where a user leaves
    too few items to draw, and where a split has no sample with impressions.
    """
    if set(config.protocols) != {SHOWN}:
        _require_negatives(con, config.negatives)
    if SHOWN not in config.protocols:
        return
    if ("impressions",) not in run(con, "prepared/tables").fetchall():
        raise DataError(
            "prepare.protocols names shown, but the data do not say what was shown. Leave shown out of "
            "prepare.protocols, or bring impressions."
        )
    run(con, "prepared/shown_lists", {"negatives": config.negatives})
    counts["shown"] = {split: {} for split in _SPLITS}
    for row in to_arrow(con, "prepared/shown_counts").to_pylist():
        counts["shown"][row.pop("split")][row.pop("task")] = row
    if empty := [split for split, tasks in counts["shown"].items() if not any(t["samples"] for t in tasks.values())]:
        raise DataError(
            f"prepare.protocols names shown, but no {empty[0]} sample is of a list that showed another item which its "
            "user did not take. Leave shown out of prepare.protocols, or bring more impressions."
        )


def _require_negatives(con: duckdb.DuckDBPyConnection, negatives: int) -> None:
    """Raise DataError where an evaluated user leaves fewer than ``negatives`` items that the user has not met."""
    fewest = files.one_row(con, "prepared/fewest_unmet")
    items, met = fewest["items"], fewest["met"]
    if fewest["users"] == 1 and items - met < negatives:
        raise DataError(f"every event is of one user, {fewest['raw_id']!r}: name the column that tells users apart.")
    if items - met < negatives:
        raise DataError(
            f"the catalogue is too small for {negatives} negatives: user {fewest['raw_id']!r} met "
            f"{met} of {items} items, which leaves {items - met}. Lower prepare.negatives or bring "
            "more items."
        )


class Rule(NamedTuple):
    """One protocol on one catalogue. The file ``weights`` has the items' chances, where they differ."""

    protocol: Protocol
    seed: int
    items: int
    negatives: int
    weights: Path | None


class Slice(NamedTuple):
    """Some samples: ids, users (n,), the contents of their lists before any draw (n, count), and what the users met."""

    sample_id: pa.Array
    user: IntArray
    lists: IntArray
    met: IntArray  # sorted keys user_idx * items + item_idx


def draw(rule: Rule, part: Slice) -> pa.RecordBatch:
    """The rows of ``files.CANDIDATES`` for some samples."""
    changed = rule.weights.stat().st_mtime_ns if rule.weights else 0
    negatives = copy.copy(_negatives(rule, changed))
    negatives.met = part.met
    start = streams(rule.seed, _SALTS[rule.protocol], part.sample_id.to_pylist())
    lists = negatives.fill(start, part.user, part.lists)
    offsets = np.arange(0, lists.size + 1, rule.negatives, dtype=np.int32)
    columns = [
        part.sample_id,
        pa.array([rule.protocol] * len(lists)),
        pa.ListArray.from_arrays(offsets, lists.ravel().astype(np.int32)),
    ]
    return pa.record_batch(columns, names=files.CANDIDATES.names)


@functools.lru_cache(maxsize=2)
def _negatives(rule: Rule, changed: int) -> Negatives:
    """What all slices share, for users who met nothing."""
    del changed  # so that another file at the same place is read
    weights = None if rule.weights is None else np.load(rule.weights)
    return Negatives(rule.items, np.empty(0, np.int64), weights, rule.negatives)


def _in_threads(
    threads: int, work: Callable[[Slice], pa.RecordBatch], parts: Iterable[Slice]
) -> Iterator[pa.RecordBatch]:
    """``work(part)`` for each part, in order. One part per thread is worked on at once."""
    waiting: deque[Future[pa.RecordBatch]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for part in parts:
            waiting.append(pool.submit(work, part))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


class _Slices:
    """The samples of one protocol. ``keys`` is what evaluated users met, ``most_met`` the most that one of them met."""

    def __init__(self, con: duckdb.DuckDBPyConnection, rule: Rule, keys: IntArray, most_met: int) -> None:
        self.con, self.rule, self.keys = con, rule, keys
        self.keep = rule.negatives + most_met  # enough matches for every user

    def of(self, split: str) -> Iterator[Slice]:
        """The slices of a split, in the order of its samples."""
        only = {"split": split, "searches_only": self.rule.protocol in SEARCH_ONLY}
        run(self.con, "prepared/numbered_samples", only)
        index = self._index() if self.rule.protocol == "bm25" else None
        for first in range(0, self.con.table("numbered_samples").shape[0], _SLICE):
            run(self.con, "prepared/slice", {"first": first, "stop": first + _SLICE})
            rows = to_arrow(self.con, "prepared/slice_samples")
            user: IntArray = rows["user_idx"].to_numpy().astype(np.int64)
            lists: IntArray = np.full((len(rows), self.rule.negatives), -1, np.int64)
            if index is not None:
                self._match(index, first, lists)
            yield Slice(rows["sample_id"].combine_chunks(), user, lists, self._met_by(np.unique(user)))

    def _met_by(self, users: IntArray) -> IntArray:
        begin, end = (np.searchsorted(self.keys, (users + n) * self.rule.items) for n in (0, 1))
        return np.concatenate([self.keys[a:b] for a, b in zip(begin, end, strict=True)])

    def _index(self) -> TextIndex:
        return index_texts(item_texts(to_arrow(self.con, "prepared/item_fields"), _BM25_TEXT))

    def _match(self, index: TextIndex, first: int, lists: IntArray) -> None:
        """Fill ``lists`` with the best matches of the slice's queries, a few queries at a time against all items."""
        asked = to_arrow(self.con, "prepared/slice_queries")
        size = max(1, min(_QUERIES, _SCORES // self.rule.items))
        for start in range(0, asked.num_rows, size):
            part = asked.slice(start, size)
            matches = best_matches(index, part["text"].to_pylist(), self.keep)
            query = part["query_idx"].combine_chunks().take(pa.array(matches.query))
            self.con.register(
                "matches", pa.table({"query_idx": query, "item_idx": matches.item, "score": matches.score})
            )
            params = {"negatives": self.rule.negatives, "seed": self.rule.seed}
            best = to_arrow(self.con, "prepared/best_matches", params)
            row = best["number"].to_numpy() - first
            lists[row, best["place"].to_numpy()] = best["item_idx"].to_numpy()
            self.con.unregister("matches")
