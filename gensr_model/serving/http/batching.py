"""Requests that come at the same time share calls of the models.

One thread works for all requests. It takes what waits, up to a bound of work, and never waits for more: an idle server
answers a request at once, and the batches of a busy one grow by themselves.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import NamedTuple

from gensr_model.serving.explain import Explanation
from gensr_model.serving.retriever import LIMIT
from gensr_model.serving.service import Answer, ReadRequest, Service

_CANDIDATES = 256  # what GenSR scores in one call
_OF_CATALOGUE = 4  # candidates that a request by full ranking counts as: 64 of them share a call


Explain = Callable[[ReadRequest, Answer], Sequence[Explanation]]


class Ranked(NamedTuple):
    """An answer, with the explanations of its items where the request wanted them."""

    answer: Answer
    explanations: Sequence[Explanation] | None


class Job(NamedTuple):
    """A request that waits for its answer."""

    service: Service
    read: ReadRequest
    explain: Explain | None
    result: Future[Ranked]


class Busy(Exception):
    """As many requests wait as may."""


class Batcher:
    """Answers requests in one thread. Any thread may call ``submit``.

    Args:
        waiting: requests that may wait at most.
        at_once: work of a batch, in candidates. 1 answers each request by itself.
        seen: is called with the number of requests of each batch.
    """

    def __init__(
        self, waiting: int = 256, at_once: int = _CANDIDATES, seen: Callable[[int], None] = lambda size: None
    ) -> None:
        self._queue: queue.Queue[Job | None] = queue.Queue(waiting)
        self._at_once, self._seen = at_once, seen
        self._left: Job | None = None  # taken from the queue, for the next batch
        self._thread = threading.Thread(target=self._work, name="gensr-rank", daemon=True)
        self._thread.start()

    def submit(self, service: Service, read: ReadRequest, explain: Explain | None = None) -> Future[Ranked]:
        """Put a request into the queue. A result that is cancelled before its turn is not computed. Raises Busy."""
        result: Future[Ranked] = Future()
        try:
            self._queue.put_nowait(Job(service, read, explain, result))
        except queue.Full:
            raise Busy from None
        return result

    @property
    def waiting(self) -> int:
        """The number of requests that wait."""
        return self._queue.qsize()

    def close(self) -> None:
        """Answer what waits, then end the thread."""
        self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        while batch := self._next_batch():
            batch = [job for job in batch if job.result.set_running_or_notify_cancel()]
            if batch:
                self._seen(len(batch))
                _answer(batch)

    def _next_batch(self) -> list[Job]:
        """At least one job, all of the same service, or none at the end."""
        first = self._left or self._queue.get()
        self._left = None
        if first is None:
            return []
        batch, work = [first], _work_of(first.read)
        while work < self._at_once:
            try:
                job = self._queue.get_nowait()
            except queue.Empty:
                break
            if job is None:
                self._queue.put(None)  # after this batch
                break
            work += _work_of(job.read)
            if job.service is not first.service or work > self._at_once:
                self._left = job
                break
            batch.append(job)
        return batch


def _work_of(read: ReadRequest) -> int:
    """The candidates that a request counts as."""
    if read.request.candidates is not None:
        return len(read.request.candidates)
    return {"retrieved": LIMIT, "full-ranking": _OF_CATALOGUE}.get(read.source, 1)


def _answer(batch: list[Job]) -> None:
    try:
        answers = batch[0].service.rank([job.read for job in batch])
    except Exception as error:
        if len(batch) == 1:
            batch[0].result.set_exception(error)
            return
        for job in batch:  # one of them is at fault: the others get their answers
            _answer([job])
        return
    for job, answer in zip(batch, answers, strict=True):
        try:
            job.result.set_result(Ranked(answer, _explanations(job, answer)))
        except Exception as error:
            job.result.set_exception(error)


def _explanations(job: Job, answer: Answer) -> Sequence[Explanation] | None:
    return None if job.explain is None else job.explain(job.read, answer)
