"""Answers to many users: by arrays where a full-ranking model recommends, else by calls that requests share."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from gensr_model.data.prepared import IntArray
from gensr_model.models.user_store import Histories
from gensr_model.serving.ranker import CATALOGUE_SCORES, check_top_n
from gensr_model.serving.service import CandidateSource, Request, Service
from gensr_model.serving.top_n import best_of_rows

_TOGETHER = 256  # requests in a call of the model; fewer where their scores of the catalogue are many


class Answers(NamedTuple):
    """The answers to N requests. Items and scores of all stand one after the other, in the order of the requests."""

    counts: IntArray  # (N,) items of each answer
    items: pa.StringArray  # raw ids, best first
    scores: Any  # float64
    sources: pa.StringArray  # (N,) CandidateSource of each answer
    known: Any  # (N,) bool: whether the model knows the user


class BulkService:
    """A service for many requests by user id. Each answer equals ``Service.answer``, but for the last digits of
    scores.
    """

    def __init__(self, service: Service) -> None:
        self.service = service
        catalogue = service.catalogue
        self._raw_ids = pa.array(service.ranker.raw_ids, pa.string())
        if catalogue is not None:
            self._catalogue_ids = pa.array(catalogue.raw_ids, pa.string())
            # (I,) the catalogue's item_idx of the ranker's items, −1 for an item that it lacks
            self._place = np.array([catalogue.index.get(raw, -1) for raw in service.ranker.raw_ids], np.int64)

    def recommend(self, users: pa.StringArray, top_n: int) -> Answers:
        """The best ``top_n`` items for each user (N,). Raises DataError where ``top_n`` is below 1."""
        check_top_n(top_n)
        rows = self.service.store.rows(users)
        if self.service.catalogue is None:
            return self._one_by_one(users, None, top_n, rows)
        parts = [self._by_catalogue(users, rows, part, top_n) for part in self._parts(rows)]
        order = np.argsort(np.concatenate([part for part, _ in parts]), kind="stable")
        return _reordered(_joined([answers for _, answers in parts]), order)

    def search(self, users: pa.StringArray, queries: pa.StringArray, top_n: int) -> Answers:
        """The best ``top_n`` results for each pair of user and query (N,). A blank query is a recommendation."""
        check_top_n(top_n)
        return self._one_by_one(users, queries, top_n, self.service.store.rows(users))

    def _parts(self, rows: IntArray) -> Iterator[IntArray]:
        """The places of users whose catalogue scores are in memory at once, by length of the history."""
        together = min(_TOGETHER, max(1, CATALOGUE_SCORES // max(1, len(self._catalogue_ids))))
        order = np.argsort(self.service.store.lengths(rows), kind="stable")
        yield from (order[start : start + together] for start in range(0, max(1, len(order)), together))

    def _by_catalogue(
        self, users: pa.StringArray, rows: IntArray, part: IntArray, top_n: int
    ) -> tuple[IntArray, Answers]:
        """Places of users, and the answers to them."""
        assert self.service.catalogue is not None
        store = self.service.store
        stored = store.histories(rows[part])
        read = self._in_catalogue(stored)
        ranked = np.asarray(read.mask.any(axis=1))
        chances = self.service.catalogue.catalogue_chances(read.take(ranked))
        if self.service.leave_out_met:
            owner, item = store.earlier(rows[part[ranked]])
            history, place = stored.item[ranked], np.nonzero(stored.mask[ranked])
            owner, item = np.concatenate([owner, place[0]]), self._place[np.concatenate([item, history[place]])]
            chances[owner[item >= 0], item[item >= 0]] = -np.inf
        counts, best, scores = best_of_rows(chances, top_n)
        sources = pa.repeat(pa.scalar("full-ranking"), len(counts))
        known = np.ones(len(counts), np.bool_)
        answers = Answers(counts, self._catalogue_ids.take(pa.array(best)), scores.astype(np.float64), sources, known)
        others = part[~ranked]
        if not len(others):
            return part, answers
        popular = self._popular(users, rows, others, top_n)
        return np.concatenate([part[ranked], others]), _joined([answers, popular])

    def _in_catalogue(self, stored: Histories) -> Histories:
        """Histories in the catalogue's item_idx, without items that it lacks, cut at its ``max_history``."""
        assert self.service.catalogue is not None
        item, behavior = self._place[stored.item], stored.behavior
        mask = stored.mask & (item >= 0)
        if (mask != stored.mask).any():
            order = np.argsort(mask, axis=1, kind="stable")  # what is left moves to the end of its row
            item, behavior = (np.take_along_axis(array, order, axis=1) for array in (item, behavior))
            mask = np.take_along_axis(mask, order, axis=1)
        longest = min(self.service.catalogue.loaded.config.max_history, int(mask.sum(axis=1).max(initial=0)))
        cut = slice(item.shape[1] - longest, None)
        return Histories(np.where(mask, item, 0)[:, cut], behavior[:, cut], mask[:, cut])

    def _popular(self, users: pa.StringArray, rows: IntArray, others: IntArray, top_n: int) -> Answers:
        """The answers to users without a known item. One answer serves all users who met nothing."""
        new = self.service.store.lengths(rows[others]) == 0
        if not new.all():
            return self._one_by_one(users.take(pa.array(others)), None, top_n, rows[others])
        answer = self.service.answer(Request(top_n=top_n))
        count = len(others)
        return Answers(
            np.full(count, len(answer.items), np.int64),
            pa.array(answer.items, pa.string()).take(pa.array(np.tile(np.arange(len(answer.items)), count))),
            np.tile(np.array(answer.scores, np.float64), count),
            pa.repeat(pa.scalar(answer.candidate_source), count),
            rows[others] >= 0,
        )

    def _one_by_one(self, users: pa.StringArray, queries: pa.StringArray | None, top_n: int, rows: IntArray) -> Answers:
        parts = []
        for start in range(0, max(1, len(users)), _TOGETHER):
            names = users.slice(start, _TOGETHER).to_pylist()
            asked = [None] * len(names) if queries is None else queries.slice(start, _TOGETHER).to_pylist()
            requests = [Request(user=user, query=query, top_n=top_n) for user, query in zip(names, asked, strict=True)]
            answers = self.service.rank([self.service.read(request) for request in requests])
            sources: list[CandidateSource] = [answer.candidate_source for answer in answers]
            parts.append(
                Answers(
                    np.array([len(answer.items) for answer in answers], np.int64),
                    pa.array(list(chain.from_iterable(answer.items for answer in answers)), pa.string()),
                    np.array(list(chain.from_iterable(answer.scores for answer in answers)), np.float64),
                    pa.array(sources, pa.string()),
                    rows[start : start + _TOGETHER] >= 0,
                )
            )
        return _joined(parts)


def _joined(parts: list[Answers]) -> Answers:
    counts, items, scores, sources, known = zip(*parts, strict=True)
    return Answers(
        np.concatenate(counts), pa.concat_arrays(items), np.concatenate(scores), pa.concat_arrays(sources),
        np.concatenate(known),
    )  # fmt: skip


def _reordered(answers: Answers, order: IntArray) -> Answers:
    """The answers at ``order`` (N,)."""
    start, counts = np.cumsum(answers.counts) - answers.counts, answers.counts[order]
    place = np.arange(counts.sum()) + np.repeat(start[order] - (np.cumsum(counts) - counts), counts)
    return Answers(
        counts,
        answers.items.take(pa.array(place)),
        answers.scores[place],
        answers.sources.take(pa.array(order)),
        answers.known[order],
    )
