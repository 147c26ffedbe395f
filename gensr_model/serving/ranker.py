"""Use a trained model: rank candidates, or the whole catalogue, for a history and an optional query.

Histories and candidates are raw item ids.
"""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import torch

from gensr_model.data.batches import Batch
from gensr_model.data.prepared import BEHAVIORS
from gensr_model.data.text import encode_prompts
from gensr_model.errors import DataError
from gensr_model.models import bundle
from gensr_model.models.full_ranking import FullRanking

_AT_ONCE = 256  # candidates that are scored together


class Ranker:
    """Scores candidates with one model bundle: by P(Yes), or by P(item) for a full-ranking model.

    Unknown items are dropped from a history. An unknown candidate is an error, because its score would be a guess. An
    empty history is allowed. A query is cut at the model's ``max_query_tokens``. Threads may share a ranker; its model
    scores one request at a time.
    """

    def __init__(self, loaded: bundle.Loaded, raw_ids: list[str]) -> None:
        self.loaded = loaded
        self.raw_ids = raw_ids
        self.index = {raw: idx for idx, raw in enumerate(raw_ids)}
        self._lock = threading.Lock()  # a request sets its prompt on the model; servers answer in many threads

    @staticmethod
    def load(folder: Path | str) -> Ranker:
        """Open a bundle folder. Raises DataError where it is none."""
        folder = Path(folder)
        loaded = bundle.load(folder)
        return Ranker(loaded, bundle.item_ids(folder))

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
        _check(top_n)
        unknown = [raw for raw in candidates if raw not in self.index]
        if unknown or not candidates:
            problem = f"the model does not know the candidates {unknown[:5]}. Give items of its catalogue."
            raise DataError(problem if unknown else "candidates is empty. Give at least one item id.")
        places = [self.index[raw] for raw in candidates]
        score = self._score(self._known(history, behaviors), query, places)
        order = np.argsort(-score, kind="stable")[:top_n]
        return [(candidates[i], float(score[i])) for i in order]

    @property
    def ranks_catalogue(self) -> bool:
        """Whether the bundle holds a full-ranking model, which ``rank_catalogue`` needs."""
        return isinstance(self.loaded.model, FullRanking)

    def rank_catalogue(
        self, history: list[str], query: str | None, top_n: int, behaviors: list[str] | None = None
    ) -> list[tuple[str, float]]:
        """The best ``top_n`` of all items and P(item), best first. Without a query items of the history are left out.

        Raises:
            DataError: the model only ranks given candidates, or as in ``rank``.
        """
        _check(top_n)
        if not self.ranks_catalogue:
            raise DataError(
                f"a {type(self.loaded.model).__name__} ranks given candidates, not the catalogue. Give "
                "candidates, or load a full-ranking model."
            )
        score = self._score(self._known(history, behaviors), query, np.arange(len(self.raw_ids)).tolist())
        left_out = [] if query else [self.index[raw] for raw in history if raw in self.index]
        score[left_out] = -1.0
        order = np.argsort(-score, kind="stable")[:top_n]
        return [(self.raw_ids[i], float(score[i])) for i in order if score[i] >= 0]

    def _known(self, history: list[str], behaviors: list[str] | None) -> list[tuple[int, int]]:
        """The latest known events as (item_idx, behavior), at most ``max_history``."""
        came = behaviors if behaviors is not None else ["rec"] * len(history)
        if len(came) != len(history) or not set(came) <= set(BEHAVIORS):
            raise DataError(
                f"behaviors is {came[:5]}. Give one of {' or '.join(BEHAVIORS)} for each of the "
                f"{len(history)} items of the history."
            )
        known = [
            (self.index[raw], BEHAVIORS.index(how)) for raw, how in zip(history, came, strict=True) if raw in self.index
        ]
        return known[-self.loaded.config.max_history :]

    @torch.inference_mode()
    def _score(self, history: list[tuple[int, int]], query: str | None, candidates: list[int]) -> np.ndarray:
        """(C,) probabilities of the candidates, ``_AT_ONCE`` at a time."""
        model = self.loaded.model
        full = model.full if isinstance(model, FullRanking) else None
        prompts = encode_prompts(self.loaded.tokenizer, [query] if query else [], self.loaded.config, full)
        with self._lock:
            model.text.set_prompts(prompts)
            if isinstance(model, FullRanking):
                batch = _one(history, query, candidates).to(bundle.device_of(model))
                every = torch.softmax(model.catalogue_scores(batch)[0], dim=0)  # (I,)
                return every[candidates].cpu().numpy()
            parts = (candidates[start : start + _AT_ONCE] for start in range(0, len(candidates), _AT_ONCE))
            batches = (_one(history, query, part).to(bundle.device_of(model)) for part in parts)
            return np.concatenate([torch.sigmoid(model.score(batch))[0].cpu().numpy() for batch in batches])


def _check(top_n: int | None) -> None:
    if top_n is not None and top_n < 1:
        raise DataError(f"top_n is {top_n}. Give 1 or more, or leave it out for all candidates.")


def _one(history: list[tuple[int, int]], query: str | None, candidates: list[int]) -> Batch:
    """The batch of one request."""
    items, inverse = np.unique([*(item for item, _ in history), *candidates], return_inverse=True)
    width = max(1, len(history))
    row = np.zeros((1, width), np.int64)
    row[0, width - len(history) :] = inverse[: len(history)]
    mask = np.zeros((1, width), bool)
    mask[0, width - len(history) :] = True
    behavior = np.zeros((1, width), np.int64)
    behavior[0, width - len(history) :] = [how for _, how in history]
    return Batch(
        items=torch.from_numpy(items.astype(np.int64)),
        history=torch.from_numpy(row),
        history_mask=torch.from_numpy(mask),
        behavior=torch.from_numpy(behavior),
        candidates=torch.from_numpy(inverse[len(history) :][None, :].copy()),
        task=torch.tensor([1 if query else 0]),
        query=torch.tensor([0 if query else -1]),
        user=torch.tensor([0]),
        history_end=torch.tensor([len(history)]),
    )
