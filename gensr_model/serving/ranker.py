"""Use a trained model: rank candidates, or the whole catalogue, for histories and optional queries.

Histories and candidates are raw item ids in requests, and item_idx behind them.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor

from gensr_model.data.batches import Batch
from gensr_model.data.bm25 import item_texts
from gensr_model.data.prepared import BEHAVIORS, IntArray
from gensr_model.data.text import encode_prompts
from gensr_model.errors import DataError, FieldError
from gensr_model.models import bundle
from gensr_model.models.base import Attribution
from gensr_model.models.full_ranking import FullRanking
from gensr_model.models.gensr import DualViewT5
from gensr_model.models.user_store import Histories
from gensr_model.serving.top_n import best_places

FloatArray = npt.NDArray[np.float32]
_AT_ONCE = 256  # candidates that are scored together, over all requests
_VARIANTS = 3  # of a candidate that an explanation scores: as it is, and without each view
CATALOGUE_SCORES = 2_000_000  # scores of whole catalogues in memory at once; at least one request's


class Context(NamedTuple):
    """A request without its candidates, as a model reads it."""

    history: list[tuple[int, int]]  # (item_idx, behavior) oldest first, at most ``max_history``
    query: str | None  # None for recommendation


class Ranker:
    """Scores candidates with one model bundle: by P(Yes), or by P(item) for a full-ranking model.

    Unknown items are dropped from a history. An unknown candidate is an error, because its score would be a guess. An
    empty history is allowed. A query is cut at the model's ``max_query_tokens``. Threads may share a ranker; its model
    scores for one of them at a time.
    """

    def __init__(self, loaded: bundle.Loaded, raw_ids: list[str]) -> None:
        self.loaded = loaded
        self.raw_ids = raw_ids
        self.index = {raw: idx for idx, raw in enumerate(raw_ids)}
        self._lock = threading.Lock()  # a request sets its prompt on the model; servers answer in many threads
        if isinstance(loaded.model, DualViewT5):
            loaded.model.precompute_items()

    @staticmethod
    def load(folder: Path | str) -> Ranker:
        """Open a bundle folder. Raises DataError where it is none."""
        folder = Path(folder)
        loaded = bundle.load(folder)
        return Ranker(loaded, bundle.item_ids(folder))

    @property
    def ranks_catalogue(self) -> bool:
        """Whether the bundle holds a full-ranking model, which ``rank_catalogue`` needs."""
        return isinstance(self.loaded.model, FullRanking)

    def rank(
        self,
        history: list[str],
        query: str | None,
        candidates: list[str],
        top_n: int | None = None,
        behaviors: list[str] | None = None,
    ) -> list[tuple[str, float]]:
        """The best ``top_n`` candidates and their probabilities, best first. Ties stay in the given order.

        Args:
            history: raw item ids, oldest first.
            query: the search's text; None for recommendation.
            behaviors: ``rec`` or ``src`` for each item of the history, all ``rec`` if left out.
        Raises:
            DataError: candidates are empty or unknown, behaviors do not fit the history, or ``top_n`` is below 1.
        """
        check_top_n(top_n)
        places = self.places(candidates)
        score = self.score([self.context(history, query, behaviors)], [places])[0]
        order = best_places(score, top_n or len(score))
        return [(candidates[i], float(score[i])) for i in order]

    def rank_catalogue(
        self, history: list[str], query: str | None, top_n: int, behaviors: list[str] | None = None
    ) -> list[tuple[str, float]]:
        """The best ``top_n`` of all items and P(item), best first. Without a query items of the history are left out.

        Raises:
            DataError: the model only ranks given candidates, or as in ``rank``.
        """
        check_top_n(top_n)
        context = self.context(history, query, behaviors)
        left_out = [] if query else [self.index[raw] for raw in history if raw in self.index]
        best, scores = next(self.best_of_catalogue([context], [left_out], [top_n]))
        return [(self.raw_ids[i], score) for i, score in zip(best.tolist(), scores.tolist(), strict=True)]

    def context(self, history: list[str], query: str | None, behaviors: list[str] | None = None) -> Context:
        """A request as the model reads it. Raises DataError where the behaviors do not fit the history."""
        came = behaviors if behaviors is not None else ["rec"] * len(history)
        if len(came) != len(history) or not set(came) <= set(BEHAVIORS):
            expected = f"one of {' or '.join(BEHAVIORS)} for each of the {len(history)} items of the history"
            message = f"behaviors is {came[:5]}. Give {expected}."
            raise FieldError(message, field="behaviors", value=came, wanted=expected)
        known = [
            (self.index[raw], BEHAVIORS.index(how)) for raw, how in zip(history, came, strict=True) if raw in self.index
        ]
        return Context(known[-self.loaded.config.max_history :], query or None)

    def places(self, candidates: list[str]) -> IntArray:
        """(C,) item_idx of raw ids. Raises DataError where there is none, or where the model lacks one."""
        unknown = [raw for raw in candidates if raw not in self.index]
        if unknown:
            message = f"the model does not know the candidates {unknown[:5]}. Give items of its catalogue."
            raise FieldError(message, field="candidates", value=unknown, wanted="items of the model's catalogue")
        if not candidates:
            message = "candidates is empty. Give at least one item id."
            raise FieldError(message, field="candidates", value=[], wanted="at least one item id")
        return np.array([self.index[raw] for raw in candidates], np.int64)

    def texts(self, items: IntArray) -> list[str]:
        """(n,) item_idx → the items' texts that BM25 reads."""
        return item_texts(self.loaded.items.take(pa.array(items)), self.loaded.config.text)

    @torch.inference_mode()
    def score(self, contexts: Sequence[Context], candidates: Sequence[IntArray]) -> list[FloatArray]:
        """(C,) probabilities of each request's candidates; C may differ. Requests share calls of the model.

        Args:
            candidates: for each request item_idx, at least one.
        """
        scores = [np.empty(len(given), np.float32) for given in candidates]
        with self._lock:
            query = self._set_prompts(contexts)
            for parts in _calls([len(given) for given in candidates]):
                rows = [part.row for part in parts]
                lists = [candidates[part.row][part.start : part.stop] for part in parts]
                chances = self._chances(_batch([contexts[row] for row in rows], lists, query[rows]))
                for part, row in zip(parts, chances.float().cpu().numpy(), strict=True):
                    scores[part.row][part.start : part.stop] = row[: part.stop - part.start]
        return scores

    @torch.inference_mode()
    def best_of_catalogue(
        self, contexts: Sequence[Context], left_out: Sequence[Sequence[int]], top_n: Sequence[int]
    ) -> Iterator[tuple[IntArray, FloatArray]]:
        """For each request the best items (n,) of all, and P(item) of each, best first. Ties are in order of item_idx.

        Args:
            left_out: for each request the item_idx that must not be in its answer.
        Raises:
            DataError: the model only ranks given candidates.
        """
        model = self._full_ranking()
        together = max(1, CATALOGUE_SCORES // max(1, len(self.raw_ids)))
        for start in range(0, len(contexts), together):
            rows = slice(start, start + together)
            part = contexts[rows]
            with self._lock:
                batch = _batch(part, [np.zeros(1, np.int64)] * len(part), self._set_prompts(part))
                every = torch.softmax(model.catalogue_scores(batch.to(bundle.device_of(model))), dim=1)  # (b, I)
            for chance, omitted, limit in zip(every.float().cpu().numpy(), left_out[rows], top_n[rows], strict=True):
                chance[list(omitted)] = -np.inf
                best = best_places(chance, limit)
                yield best, chance[best]

    @torch.inference_mode()
    def catalogue_chances(self, histories: Histories) -> FloatArray:
        """(B, I) P(item) of all items for each of B histories without a query.

        Raises:
            DataError: the model only ranks given candidates.
        """
        model, rows = self._full_ranking(), len(histories.mask)
        if not rows:
            return np.empty((0, len(self.raw_ids)), np.float32)
        batch = _assembled(histories, np.zeros((rows, 1), np.int64), np.full(rows, -1, np.int64))
        with self._lock:
            self._set_prompts([])
            every = torch.softmax(model.catalogue_scores(batch.to(bundle.device_of(model))), dim=1)
        chances: FloatArray = every.float().cpu().numpy()
        return chances

    @torch.inference_mode()
    def attribution(self, context: Context, candidates: IntArray) -> list[Attribution]:
        """What the scores of a request's candidates (C,) come from, in parts of candidates, in order."""
        model, together = self.loaded.model, max(1, _AT_ONCE // _VARIANTS)
        with self._lock:
            query = self._set_prompts([context])
            parts = [candidates[start : start + together] for start in range(0, len(candidates), together)]
            return [model.attribution(_batch([context], [p], query).to(bundle.device_of(model))) for p in parts]

    def _full_ranking(self) -> FullRanking:
        model = self.loaded.model
        if not isinstance(model, FullRanking):
            raise DataError(
                f"a {type(model).__name__} ranks given candidates, not the catalogue. Give candidates, or load a "
                "full-ranking model."
            )
        return model

    def _chances(self, batch: Batch) -> Tensor:
        """(B, C) probabilities of the candidates."""
        model = self.loaded.model
        batch = batch.to(bundle.device_of(model))
        if isinstance(model, FullRanking):
            every = torch.softmax(model.catalogue_scores(batch), dim=1)  # (B, I)
            return every.gather(1, batch.items[batch.candidates])
        return torch.sigmoid(model.score(batch))

    def _set_prompts(self, contexts: Sequence[Context]) -> IntArray:
        """Give the model the prompts of the requests' queries. Returns the prompt row of each request (N,)."""
        model = self.loaded.model
        rows = {query: row for row, query in enumerate(dict.fromkeys(c.query for c in contexts if c.query))}
        full = model.full if isinstance(model, FullRanking) else None
        model.text.set_prompts(encode_prompts(self.loaded.tokenizer, list(rows), self.loaded.config, full))
        return np.array([rows[context.query] if context.query else -1 for context in contexts], np.int64)


class _Part(NamedTuple):
    """Candidates ``start`` to ``stop`` of request ``row``."""

    row: int
    start: int
    stop: int


def _calls(lengths: list[int]) -> Iterator[list[_Part]]:
    """The parts of lists that are scored together: at most ``_AT_ONCE`` candidates a call, padding included."""
    together: list[_Part] = []
    widest = 0
    for row, length in enumerate(lengths):
        for start in range(0, length, _AT_ONCE):
            part = _Part(row, start, min(length, start + _AT_ONCE))
            widest = max(widest, part.stop - part.start)
            if together and (len(together) + 1) * widest > _AT_ONCE:
                yield together
                together, widest = [], part.stop - part.start
            together.append(part)
    if together:
        yield together


def check_top_n(top_n: int | None) -> None:
    """Raise DataError where ``top_n`` is below 1."""
    if top_n is not None and top_n < 1:
        message = f"top_n is {top_n}. Give 1 or more, or leave it out for all candidates."
        raise FieldError(message, field="top_n", value=top_n, wanted="1 or more")


def _batch(contexts: Sequence[Context], candidates: Sequence[IntArray], query: IntArray) -> Batch:
    """A batch of B requests. A shorter list of candidates is padded by its first one.

    Args:
        query: (B,) prompt row of each request, −1 without a query.
    """
    width = max(1, *(len(context.history) for context in contexts))
    longest = max(len(given) for given in candidates)
    history, behavior = (np.zeros((len(contexts), width), np.int64) for _ in range(2))
    mask = np.zeros((len(contexts), width), bool)
    scored = np.empty((len(contexts), longest), np.int64)
    for row, (context, given) in enumerate(zip(contexts, candidates, strict=True)):
        scored[row, : len(given)], scored[row, len(given) :] = given, given[0]
        if context.history:
            first = width - len(context.history)
            history[row, first:], behavior[row, first:] = np.array(context.history, np.int64).T
            mask[row, first:] = True
    return _assembled(Histories(history, behavior, mask), scored, query)


def _assembled(histories: Histories, candidates: IntArray, query: IntArray) -> Batch:
    """A batch of B histories, candidates (B, C) and prompt rows (B,)."""
    mask = histories.mask
    history = np.where(mask, histories.item, candidates[:, :1])  # padding adds no other item
    width = history.shape[1]
    items, inverse = np.unique(np.concatenate([history, candidates], axis=1), return_inverse=True)
    inverse = inverse.reshape(len(history), -1)
    return Batch(
        items=torch.from_numpy(items),
        history=torch.from_numpy(np.where(mask, inverse[:, :width], 0)),
        history_mask=torch.from_numpy(mask),
        behavior=torch.from_numpy(histories.behavior),
        candidates=torch.from_numpy(inverse[:, width:].copy()),
        task=torch.from_numpy((query >= 0).astype(np.int64)),
        query=torch.from_numpy(query),
        user=torch.zeros(len(history), dtype=torch.int64),
        history_end=torch.from_numpy(mask.sum(axis=1)),
    )
