"""Answers requests by user id or history, with or without a query, with or without candidates."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pyarrow.parquet as pq
from torch import Tensor

from gensr_model.config.base import Task
from gensr_model.data.prepared import BEHAVIORS, IntArray
from gensr_model.errors import DataError
from gensr_model.models import bundle
from gensr_model.models.user_store import Store
from gensr_model.serving.ranker import Ranker
from gensr_model.serving.retriever import LIMIT, Retriever

CandidateSource = Literal["given", "retrieved", "full-ranking"]
HistorySource = Literal["given", "stored", "unknown-user", "none"]


class Request(NamedTuple):
    """A request in raw ids. None means that a field is not given; an empty list is a given, empty list."""

    user: str | None = None
    history: list[str] | None = None  # oldest first; replaces the stored history of ``user``
    behaviors: list[str] | None = None  # ``rec`` or ``src`` for each item of ``history``; all ``rec`` if left out
    query: str | None = None
    candidates: list[str] | None = None
    top_n: int | None = None


class Answer(NamedTuple):
    """Items, best first, and the sources of the answer."""

    items: list[str]
    scores: list[float]  # P(Yes) of each; P(item) among all items where a full-ranking model scored
    task: Task
    candidate_source: CandidateSource
    history_source: HistorySource
    notes: list[str]  # messages about what was left out or cut


class _History(NamedTuple):
    source: HistorySource
    items: list[str]
    behaviors: list[str] | None
    vector: Tensor | None


class Service:
    """One model bundle that answers requests, with an optional full-ranking model. Threads may share a service.

    Args:
        catalogue: ranks all items where a request has no candidates. Without it ``retriever`` chooses candidates for
            ``ranker``.
    """

    def __init__(
        self, ranker: Ranker, store: Store, retriever: Retriever | None, catalogue: Ranker | None = None
    ) -> None:
        assert retriever is not None or catalogue is not None
        self.ranker, self.store, self.retriever, self.catalogue = ranker, store, retriever, catalogue

    @staticmethod
    def load(folder: Path | str, catalogue: Path | str | None = None) -> Service:
        """Open a bundle folder, and optionally the folder of a full-ranking model. A full-ranking bundle also serves
        alone.

        Raises:
            DataError: a folder is no bundle, or the first cannot serve, or the second has no full-ranking model.
        """
        folder = Path(folder)
        ranker, store = Ranker.load(folder), Store(folder)
        if ranker.ranks_catalogue:
            return Service(ranker, store, None, ranker)
        if catalogue is not None:
            full = Ranker.load(catalogue)
            if not full.ranks_catalogue:
                raise DataError(
                    f"{catalogue}: this bundle ranks given candidates, not the catalogue. Give the bundle "
                    "of a full-ranking model."
                )
            return Service(ranker, store, None, full)
        items = pq.read_table(folder / bundle.ITEMS)
        text = ranker.loaded.config.text
        return Service(ranker, store, Retriever(store.item, store.bought, items, text))

    def answer(self, request: Request) -> Answer:
        """Rank the candidates. Without candidates rank the whole catalogue, or the items that retrieval chooses.

        Raises:
            DataError: candidates are empty or unknown, behaviors do not fit, or ``top_n`` is below 1.
        """
        if request.behaviors is not None and request.history is None:
            raise DataError("behaviors is given without history. Give the history too.")
        repeated = _repeated(request.candidates or [])
        if repeated:
            request = request._replace(candidates=list(dict.fromkeys(request.candidates or [])))
        query = (request.query or "").strip() or None
        history = self._history(request)
        source, model, ranked = self._ranked(request, query, history)
        return Answer(
            items=[item for item, _ in ranked],
            scores=[score for _, score in ranked],
            task="search" if query else "recommendation",
            candidate_source=source,
            history_source=history.source,
            notes=_notes(request, history, query, model, repeated),
        )

    def _ranked(
        self, request: Request, query: str | None, history: _History
    ) -> tuple[CandidateSource, Ranker, list[tuple[str, float]]]:
        source: CandidateSource = "given"
        candidates = request.candidates
        if candidates is None and self.catalogue is not None:
            limit = LIMIT if request.top_n is None else request.top_n
            best = self.catalogue.rank_catalogue(history.items, query, limit, history.behaviors)
            return "full-ranking", self.catalogue, best
        if candidates is None:
            assert self.retriever is not None
            source = "retrieved"
            retrieved = self.retriever.find(self._known(history.items), history.vector, query)
            candidates = [self.ranker.raw_ids[item] for item in retrieved.tolist()]
        ranked = self.ranker.rank(history.items, query, candidates, request.top_n, history.behaviors)
        return source, self.ranker, ranked

    def _history(self, request: Request) -> _History:
        if request.history is not None:
            return _History("given", request.history, request.behaviors, None)
        if request.user is None:
            return _History("none", [], None, None)
        known = self.store.user(request.user)
        if known is None:
            return _History("unknown-user", [], None, None)
        items = [self.ranker.raw_ids[item] for item in known.history.tolist()]
        return _History("stored", items, [BEHAVIORS[b] for b in known.behavior.tolist()], known.vector)

    def _known(self, raw: list[str]) -> IntArray:
        return np.array([self.ranker.index[item] for item in raw if item in self.ranker.index], np.int64)


def _repeated(candidates: list[str]) -> list[str]:
    """The candidates that occur more than once, each once."""
    return [item for item, times in Counter(candidates).items() if times > 1]


def _notes(request: Request, history: _History, query: str | None, model: Ranker, repeated: list[str]) -> list[str]:
    notes = []
    if repeated:
        notes.append(f"{len(repeated)} candidates were given more than once and are ranked once: {repeated[:5]}")
    if history.source == "unknown-user":
        notes.append(f"user {request.user!r} is unknown: answered as for an empty history")
    unknown = [item for item in history.items if item not in model.index]
    if unknown:
        notes.append(f"{len(unknown)} items of the history are unknown and were left out: {unknown[:5]}")
    limit = model.loaded.config.max_query_tokens
    if query and len(model.loaded.tokenizer.encode(query, add_special_tokens=False).ids) > limit:
        notes.append(f"the query was cut to its first {limit} tokens")
    return notes
