"""Answers requests by user id or history, with or without a query, with or without candidates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from torch import Tensor

from gensr_model.config.base import Task
from gensr_model.data.prepared import BEHAVIORS, IntArray
from gensr_model.errors import DataError, FieldError
from gensr_model.models.user_store import Store
from gensr_model.serving.ranker import Context, Ranker, check_top_n
from gensr_model.serving.retriever import LIMIT, Retriever
from gensr_model.serving.top_n import best_places

CandidateSource = Literal["given", "retrieved", "full-ranking", "popular"]
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
    # P(Yes) of each; P(item) among all items where a full-ranking model scored; for popular items the number of
    # training's users who met the item, relative to the most popular one
    scores: list[float]
    task: Task
    candidate_source: CandidateSource
    history_source: HistorySource
    notes: list[str]  # messages about what was left out or cut


_Ranked = tuple[list[str], list[float]]  # items, best first, and their scores


class _History(NamedTuple):
    source: HistorySource
    items: list[str]
    behaviors: list[str] | None
    vector: Tensor | None
    earlier: Sequence[str] = ()  # items that the user met before; they are no part of what the model reads


class ReadRequest(NamedTuple):
    """A request that can be answered: its fields are checked, and its history is known."""

    request: Request
    task: Task
    source: CandidateSource
    history: _History
    model: Ranker  # the one that ranks
    context: Context  # for this model
    notes: list[str]


class Service:
    """One model bundle that answers requests, with an optional full-ranking model. Threads may share a service.

    Args:
        catalogue: ranks all items where a request has no candidates. Without it ``retriever`` chooses candidates for
            ``ranker``.

    Attributes:
        leave_out_met: whether a recommendation leaves out every item that the user met. Candidates of a request are
            ranked in any case.
    """

    leave_out_met = True

    def __init__(
        self, ranker: Ranker, store: Store, retriever: Retriever | None, catalogue: Ranker | None = None
    ) -> None:
        assert retriever is not None or catalogue is not None
        self.ranker, self.store, self.retriever, self.catalogue = ranker, store, retriever, catalogue
        self._popular = Popular(store.bought)

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
        loaded = ranker.loaded
        return Service(ranker, store, Retriever(store.item, store.bought, loaded.items, loaded.config.text))

    def answer(self, request: Request) -> Answer:
        """Rank the candidates. Without candidates rank the whole catalogue, or the items that retrieval chooses.

        Recommendation without candidates and without a known item in the history gives the most popular items.

        Raises:
            DataError: candidates are empty or unknown, behaviors do not fit, or ``top_n`` is below 1.
        """
        return self.rank([self.read(request)])[0]

    def read(self, request: Request) -> ReadRequest:
        """Check a request and look up its history. Raises DataError as ``answer`` does."""
        check_top_n(request.top_n)
        if request.behaviors is not None and request.history is None:
            message = "behaviors is given without history. Give the history too."
            raise FieldError(message, field="behaviors", value=request.behaviors, wanted="a history beside it")
        repeated = _repeated(request.candidates or [])
        if repeated:
            request = request._replace(candidates=list(dict.fromkeys(request.candidates or [])))
        query = (request.query or "").strip() or None
        history = self._history(request)
        if request.candidates is not None:
            self.ranker.places(request.candidates)
        model = self.ranker if request.candidates is not None or self.catalogue is None else self.catalogue
        context = model.context(history.items, query, history.behaviors)
        return ReadRequest(
            request,
            task="search" if query else "recommendation",
            source=self._source(request, context),
            history=history,
            model=model,
            context=context,
            notes=_notes(request, history, query, model, repeated),
        )

    def rank(self, requests: Sequence[ReadRequest]) -> list[Answer]:
        """The answers of many requests, which share calls of the models. Each equals the answer to it alone, but for
        the last digits of its scores.
        """
        ranked: dict[int, _Ranked] = {}
        for sources, rank in (
            (("popular",), self._rank_popular),
            (("full-ranking",), self._rank_catalogue),
            (("given", "retrieved"), self._rank_candidates),
        ):
            rows = [row for row, read in enumerate(requests) if read.source in sources]
            if rows:
                ranked.update(zip(rows, rank([requests[row] for row in rows]), strict=True))
        return [
            Answer(*ranked[row], read.task, read.source, read.history.source, read.notes)
            for row, read in enumerate(requests)
        ]

    def _source(self, request: Request, context: Context) -> CandidateSource:
        if request.candidates is not None:
            return "given"
        if context.query is None and not context.history:
            return "popular"
        return "retrieved" if self.catalogue is None else "full-ranking"

    def _rank_popular(self, requests: Sequence[ReadRequest]) -> Iterator[_Ranked]:
        for read in requests:
            left_out = [self.ranker.index[raw] for raw in self._left_out(read) if raw in self.ranker.index]
            limit = read.request.top_n or LIMIT
            first = self._popular.items[: limit + len(left_out)]
            best = first[np.isin(first, left_out, invert=True)][:limit]
            yield [self.ranker.raw_ids[item] for item in best.tolist()], self._popular.shares[best].tolist()

    def _rank_catalogue(self, requests: Sequence[ReadRequest]) -> Iterator[_Ranked]:
        assert self.catalogue is not None
        index, raw_ids = self.catalogue.index, self.catalogue.raw_ids
        met = [[index[raw] for raw in self._left_out(read) if raw in index] for read in requests]
        limits = [read.request.top_n or LIMIT for read in requests]
        for best, scores in self.catalogue.best_of_catalogue([read.context for read in requests], met, limits):
            yield [raw_ids[item] for item in best.tolist()], scores.tolist()

    def _rank_candidates(self, requests: Sequence[ReadRequest]) -> Iterator[_Ranked]:
        lists = [self._candidates(read) for read in requests]
        scored = self.ranker.score([read.context for read in requests], lists)
        for read, items, scores in zip(requests, lists, scored, strict=True):
            best = best_places(scores, read.request.top_n or len(scores))
            yield [self.ranker.raw_ids[item] for item in items[best].tolist()], scores[best].tolist()

    def _candidates(self, read: ReadRequest) -> IntArray:
        """(C,) item_idx: the request's own candidates, or those that retrieval chooses."""
        if read.request.candidates is not None:
            return self.ranker.places(read.request.candidates)
        assert self.retriever is not None
        index = self.ranker.index
        known, left_out = (
            np.array([index[raw] for raw in given if raw in index], np.int64)
            for given in (read.history.items, self._left_out(read))
        )
        return self.retriever.find(known, read.history.vector, read.context.query, left_out=left_out)

    def _left_out(self, read: ReadRequest) -> Sequence[str]:
        """The items that a recommendation without candidates leaves out."""
        if read.context.query or not self.leave_out_met:
            return ()
        return [*read.history.items, *read.history.earlier]

    def _history(self, request: Request) -> _History:
        if request.history is not None:
            return _History("given", request.history, request.behaviors, None)
        if request.user is None:
            return _History("none", [], None, None)
        known = self.store.user(request.user)
        if known is None:
            return _History("unknown-user", [], None, None)
        items, earlier = (
            [self.ranker.raw_ids[item] for item in given.tolist()] for given in (known.history, known.earlier)
        )
        return _History("stored", items, [BEHAVIORS[b] for b in known.behavior.tolist()], known.vector, earlier)


class Popular:
    """The catalogue by popularity: the fallback where nothing is known of a user.

    Args:
        bought: (I,) number of training's users who met an item.
    """

    def __init__(self, bought: Tensor) -> None:
        met = bought.numpy().astype(np.int64)
        self.items = np.argsort(-met, kind="stable")  # (I,) item_idx, most popular first
        self.shares = met / max(1, int(met.max(initial=0)))  # (I,) relative to the most popular item


def _repeated(candidates: list[str]) -> list[str]:
    """The candidates that occur more than once, each once."""
    return [item for item, times in Counter(candidates).items() if times > 1]


def _notes(request: Request, history: _History, query: str | None, model: Ranker, repeated: list[str]) -> list[str]:
    notes = []
    if repeated:
        notes.append(f"{len(repeated)} candidates were given more than once and are ranked once: {repeated[:5]}")
    if history.source == "unknown-user":
        notes.append(f"user {request.user!r} is unknown: the answer has no history")
    unknown = [item for item in history.items if item not in model.index]
    if unknown:
        notes.append(f"{len(unknown)} items of the history are unknown and were left out: {unknown[:5]}")
    limit = model.loaded.config.max_query_tokens
    if query and len(model.loaded.tokenizer.encode(query, add_special_tokens=False).ids) > limit:
        notes.append(f"the query was cut to its first {limit} tokens")
    return notes
