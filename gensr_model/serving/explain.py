"""Why an item stands in an answer: weights of the history, contributions of the views, words of the query.

docs/concepts/why_this_item.md says what each number means, and what it does not mean.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gensr_model.data.bm25 import split_words
from gensr_model.models.full_ranking import FullRanking
from gensr_model.models.two_head import TwoHead
from gensr_model.models.view_ranking import ViewRanking
from gensr_model.serving.ranker import Ranker
from gensr_model.serving.service import Answer, ReadRequest

_FILTER = (
    "Weights of Eq. 7 for each event of the history, in its order, in both views. They sum to 1, and each is the mean "
    "over the attention heads."
)
_REPLACED = (
    "The log-odds of Yes, less the same with the view's two placeholders replaced: the history by the empty-history "
    "vector, and the candidate by the mean item of the catalogue."
)
_HISTORY_REPLACED = (
    "The log-probability of the item, less the same with the view's placeholder for the history replaced by that of an "
    "empty history. Full ranking has no placeholder for a candidate."
)
_TERM = "The view's term of the item's logit, less the mean of this term over all items of the catalogue."
_NO_VIEWS = "Null: the model adds both views before it scores an item."
_OTHER = (
    "What no view gives to the logit: the item's bias and its counts, less their mean over all items. Both views and "
    "this part sum to the logit less the mean logit. Null where the model has no such part."
)
_POPULAR = "Popular items answer where nothing is known of a user. No model scored them."
_WORDS = (
    "Words of the query that stand in the item's text, as BM25 cuts them: case is folded, English stop words are left "
    "out, and words are not stemmed."
)


class Weights(NamedTuple):
    """Eq. 7's weights of the history's events, oldest first. They sum to 1."""

    cf: list[float] | None
    semantic: list[float] | None


class Contributions(NamedTuple):
    """What each view adds to the score of an item, on the scale that ``explanation_schema`` names."""

    cf: float | None
    semantic: float | None


class Explanation(NamedTuple):
    """Why one item stands in an answer. None: there is no such number, and ``note`` says why."""

    filter: Weights  # over ``ReadRequest.context.history``
    views: Contributions
    other: float | None  # contribution of the item's bias and counts, of a full-ranking model with departure AR
    words: list[str]  # words of the query that the item's text has, in the query's order, each once
    note: str | None


def explain(read: ReadRequest, answer: Answer) -> list[Explanation]:
    """One explanation for each item of an answer, in its order. The model scores these items together once more.

    Args:
        read: the request, as the service read it.
        answer: the answer to it, or its first items.
    """
    count, ranker = len(answer.items), read.model
    if not count:
        return []
    if read.source == "popular":
        nothing = Explanation(Weights(None, None), Contributions(None, None), None, [], _POPULAR)
        return [nothing] * count
    places = ranker.places(answer.items)
    parts = ranker.attribution(read.context, places)
    weighed = bool(read.context.history)
    weights = (_column([part.weights[view] if weighed else None for part in parts], count) for view in (0, 1))
    views = (map(_finite, _column([part.views[view] for part in parts], count)) for view in (0, 1))
    other = map(_finite, _column([part.other for part in parts], count))
    words = matched_words(read.context.query, ranker.texts(places))
    note = " ".join(_notes(ranker, weighed)) or None
    return [
        Explanation(Weights(*weight), Contributions(*view), rest, matched, note)
        for weight, view, rest, matched in zip(
            zip(*weights, strict=True), zip(*views, strict=True), other, words, strict=True
        )
    ]


def explanation_schema(read: ReadRequest) -> dict[str, str]:
    """What each field of the explanations of an answer means for the model that answers."""
    model = read.model.loaded.model
    if isinstance(model, ViewRanking):
        views = _TERM
    elif isinstance(model, FullRanking):
        views = _HISTORY_REPLACED
    else:
        views = _NO_VIEWS if isinstance(model, TwoHead) else _REPLACED
    return {"filter": _FILTER, "views": views, "other": _OTHER, "words": _WORDS}


def matched_words(query: str | None, texts: Sequence[str]) -> list[list[str]]:
    """For each text (N,) the query's words that BM25 matches in it, in the query's order, each once."""
    asked, *of_texts = split_words([query or "", *texts])
    return [[word for word in dict.fromkeys(asked) if word in words] for words in map(set, of_texts)]


def _notes(ranker: Ranker, has_history: bool) -> Iterator[str]:
    """Why some fields of the explanations are None."""
    config, model = ranker.loaded.config, ranker.loaded.model
    if not config.soft_filter:
        yield "This model has no soft filter."
    elif not has_history:
        yield "Without a history there are no weights."
    elif isinstance(model, TwoHead):
        yield "This model has one filter over the sum of both views, so both views have the same weights."
    if isinstance(model, TwoHead):
        yield "This model has no contribution of one view."
    missing = [name for name, on in (("CF", config.cf_view), ("semantic", config.semantic_view)) if not on]
    if missing:
        yield f"This model has no {missing[0]} view."


def _column(parts: Sequence[Tensor | None], count: int) -> list[Any]:
    """One value for each of ``count`` candidates, of parts (1, C) or (1, C, H), or None for each."""
    known = [part for part in parts if part is not None]
    return torch.cat(known, dim=1)[0].tolist() if known else [None] * count


def _finite(value: float | None) -> float | None:
    """None for an item that the model cannot generate: its log-probability is −∞."""
    return value if value is not None and math.isfinite(value) else None
