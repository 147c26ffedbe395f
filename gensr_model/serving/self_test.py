"""The test that a model version passes before it serves: it answers, and its answers can be shown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from gensr_model.errors import DataError
from gensr_model.serving.item_fields import ItemFields
from gensr_model.serving.service import Answer, Request, Service

_TOP_N, _USERS = 10, 3
_CLOSE = 1e-4  # of scores: other machines and other batches move their last digits


class SelfTestError(DataError):
    """A model version gives an answer that must not be shown."""


class Example(NamedTuple):
    """A request, and the answer that the version gave when it was registered."""

    request: Request
    items: list[str]
    scores: list[float]

    @staticmethod
    def of(service: Service, request: Request) -> Example:
        """The answer that a version gives now."""
        answer = service.answer(request)
        return Example(request, answer.items, answer.scores)


def self_test(service: Service, items: ItemFields, examples: Sequence[Example] = ()) -> None:
    """Ask for some known users, for nobody, for a search and for given candidates, together and one by one.

    Raises:
        SelfTestError: an answer is empty, has an unknown item, or has scores that are not finite or not sorted. Or it
            differs from the answer to the same request by itself, or from that of an example.
    """
    requests = _requests(service, items)
    together = service.rank([service.read(request) for request in requests])
    for request, answer in zip(requests, together, strict=True):
        _check(request, answer, items)
        alone = service.answer(request)
        _check_scores(request, answer, alone.items, alone.scores, "the answer to the same request by itself")
    for example in examples:
        answer = service.answer(example.request)
        _check_scores(example.request, answer, example.items, example.scores, "the saved example")


def _requests(service: Service, items: ItemFields) -> list[Request]:
    users = service.store.users("", _USERS)
    popular = service.answer(Request(top_n=_TOP_N)).items
    title = next((title for item in popular if (title := items.title(item))), "a")
    wanted = [*(Request(user=user) for user in users), Request(), Request(query=title), Request(candidates=popular)]
    if users:
        wanted.append(Request(user=users[0], query=title))
    return [request._replace(top_n=_TOP_N) for request in wanted]


def _check(request: Request, answer: Answer, items: ItemFields) -> None:
    unknown = [item for item in answer.items if item not in items]
    problem = None
    if not answer.items:
        problem = "has no items"
    elif len(set(answer.items)) < len(answer.items):
        problem = "has an item twice"
    elif unknown:
        problem = f"has the unknown items {unknown[:3]}"
    elif not all(map(math.isfinite, answer.scores)):
        problem = "has scores that are not finite"
    elif answer.scores != sorted(answer.scores, reverse=True):
        problem = "is not sorted by its scores"
    if problem:
        raise SelfTestError(f"the self-test failed: the answer to {_words(request)} {problem}")


def _check_scores(request: Request, answer: Answer, items: Sequence[str], scores: Sequence[float], other: str) -> None:
    """Compare scores by place and by item. Items with nearly equal scores may change places."""
    given, wanted = (dict(zip(*pair, strict=True)) for pair in ((answer.items, answer.scores), (items, scores)))
    pairs = [(given[item], wanted[item]) for item in given if item in wanted]
    same = len(scores) == len(answer.scores)
    if not same or any(abs(a - b) > _CLOSE for a, b in (*pairs, *zip(answer.scores, scores, strict=True))):
        raise SelfTestError(f"the self-test failed: the answer to {_words(request)} differs from {other}")


def _words(request: Request) -> str:
    given = {name: value for name, value in request._asdict().items() if value is not None}
    return f"the request {given}"[:300]
